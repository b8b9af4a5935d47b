"""What the commands on held-out prompts share: which prompts, and their truths."""

from __future__ import annotations

import argparse
from pathlib import Path

from sora_jax import command
from sora_jax.evaluation import prompts as prompts_lib
from sora_jax.evaluation.prompts import Prompt
from sora_jax.types import Clip

COUNTS = {"one object": 128, "two objects": 128, "images": 64, "held-out combinations": 64}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--prompts and --limit."""
    parser.add_argument(
        "--prompts", type=Path, help="JSONL that make_latents wrote; else the standard list is made"
    )
    parser.add_argument("--limit", type=int, default=None, help="at most so many prompts of each stratum")


def load(options: argparse.Namespace) -> tuple[dict[str, list[Prompt]], dict[str, list[Clip]]]:
    """Stratum -> its prompts, and stratum -> their truths.

    Raises:
      command.UsageError: a file that holds no prompt, or prompts of another world.
    """
    with command.checking_usage():
        prompts = prompts_lib.load(options.prompts) if options.prompts else prompts_lib.held_out(COUNTS)
        strata = {s: [p for p in prompts if p.stratum == s][: options.limit] for s in prompts_lib.STRATA}
        strata = {name: chosen for name, chosen in strata.items() if chosen}
        if not strata:
            raise ValueError(f"no prompt to score: --prompts {options.prompts}, --limit {options.limit}")
        return strata, {name: [prompts_lib.truth(p) for p in chosen] for name, chosen in strata.items()}
