"""The certificates that stand beside the metrics: which metrics may be shown as scores, and why others not.

They are made by `python -m sora_jax.evaluate certify` and kept in the package, so that a score is never shown
without the proof of what it sees.
"""

from __future__ import annotations

import json
from pathlib import Path

from sora_jax.evaluation.physics.suite_bench import EVERY_METRIC

FOLDER = Path(__file__).parent / "certified"


def failing() -> dict[str, str]:
    """Metric -> the gates that its certificate fails; metrics without a certificate are among them."""
    reasons = {}
    for name in (metric.name for metric in EVERY_METRIC):
        path = FOLDER / f"{name.replace(' ', '_')}.json"
        if not path.is_file():
            reasons[name] = "no certificate"
            continue
        failed = json.loads(path.read_text())["failing"]
        if failed:
            reasons[name] = f"fails {', '.join(failed)}"
    return reasons


def picture() -> bytes | None:
    """PNG of the corruption x metric matrix; None before the first certificate was made."""
    path = FOLDER / "matrix.png"
    return path.read_bytes() if path.is_file() else None
