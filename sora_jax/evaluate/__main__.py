"""`python -m sora_jax.evaluate`."""

from sora_jax import command
from sora_jax.evaluate import main

command.run(main)
