"""Samples videos: from text, and in every other way that one can be asked for.

    python -m sora_jax.sample --prompt "a large red circle moving right" --frames 17 --out circle.mp4
    python -m sora_jax.sample animate --image ball.png --prompt "a red circle moving left" --out ball.mp4
    python -m sora_jax.sample extend --video ball.mp4 --prompt "a red circle moving left" --times 3
    python -m sora_jax.sample long --prompt "a red circle bouncing off the floor" --seconds 60

`python -m sora_jax.sample MODE --help` tells what a mode takes; without a mode it is text to video.
"""

from __future__ import annotations

from collections.abc import Sequence

from sora_jax import command
from sora_jax.sample import beginning, changing, long, text

COMMANDS = {**beginning.MODES, **changing.MODES, "long": long}


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit code."""
    if not arguments or arguments[0] not in COMMANDS:
        return text.main(arguments, modes=", ".join(COMMANDS))
    name, *rest = arguments
    mode = COMMANDS[name]
    parser = command.parser(mode.__doc__ or "", example=f"python -m sora_jax.sample {name} {mode.EXAMPLE}")
    parser.prog = f"python -m sora_jax.sample {name}"
    mode.add_arguments(parser)
    options = parser.parse_args(rest)
    with command.machine(options):
        return mode.run(options)
