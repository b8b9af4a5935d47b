"""`python -m sora_jax.scaling`."""

from sora_jax import command
from sora_jax.scaling.commands import main

command.run(main)
