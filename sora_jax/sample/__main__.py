"""`python -m sora_jax.sample`."""

from sora_jax import command
from sora_jax.sample import main

command.run(main)
