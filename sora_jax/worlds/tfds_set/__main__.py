"""`tfds build` for this set on a machine without TensorFlow.

    python -m sora_jax.worlds.tfds_set --config small --data_dir out/tfds

takes the flags of `tfds build` and runs its code. (The `tfds` program itself, in TFDS 4.9.10, imports a
format converter that needs TensorFlow.)
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app
from tensorflow_datasets.scripts.cli import build, cli_utils


def main() -> None:
    """Parse the flags and build this folder's set, as ArrayRecord unless said otherwise."""
    arguments = [sys.argv[0], str(Path(__file__).parent), "--file_format", "array_record", *sys.argv[1:]]
    parse = cli_utils.make_flags_parser(build.Args, description="Build the simulated world as a TFDS set.")
    app.run(lambda args: args.execute(), argv=arguments, flags_parser=parse)


if __name__ == "__main__":
    main()
