"""The table of graded violations of the benchmark's own families, and the whole table."""

from __future__ import annotations

from sora_jax.evaluation.physics import edits_fracture as breaks
from sora_jax.evaluation.physics import edits_hiding as hides
from sora_jax.evaluation.physics import edits_marks as stains
from sora_jax.evaluation.physics.corruptions import CORRUPTIONS, SHARES, Corruption, corruption
from sora_jax.evaluation.physics.suite_bench import BEHIND, BROKEN, MARKED

AFTER = "share of the frames after"
LATE = (0.15, 0.3, 0.45, 0.6, 0.8)  # of the frames after an event, at their beginning
PARTS = (0.2, 0.4, 0.6, 0.8, 1.0)


def _row(name: str, failure: str, apply, doses, unit: str, changes: str, families) -> Corruption:
    return corruption(name, failure, apply, doses=doses, unit=unit, changes=changes, families=families)


BENCH_CORRUPTIONS: tuple[Corruption, ...] = (
    _row("no return", "reappearance", hides.gone, SHARES, AFTER, "return lateness", BEHIND),
    _row("late return", "punctuality", hides.delayed, LATE, AFTER, "lateness", BEHIND),
    _row("return elsewhere", "place on return", hides.shifted, (0.5, 0.75, 1.0, 1.25, 1.5), "radii", "place", BEHIND),
    _row("return recolored", "color on return", hides.recolored, SHARES, AFTER, "color", BEHIND),
    _row("return reshaped", "shape on return", hides.reshaped, SHARES, AFTER, "shape", BEHIND),
    _row("swap behind", "color on return", hides.swapped, SHARES, AFTER, "color shape", BEHIND),
    _row("healing", "mark", stains.healed, SHARES, AFTER, "mark", MARKED),
    _row("mark elsewhere", "mark", stains.displaced, (0.2, 0.4, 0.6, 0.8, 1.0), "world units", "spot", MARKED),
    _row("healing unseen", "mark after a screen", stains.healed_behind, PARTS, "share of the mark", "mark", MARKED),
    _row("no mark", "mark by contact", stains.unmarked, PARTS, "share of the mark", "mark", MARKED),
    _row("uncaused mark", "mark by contact", stains.uncaused, (0.4, 0.5, 0.65, 0.8, 1.0), "share of a mark", "mark", MARKED),
    _row("late break", "breaking", breaks.late, (0.2, 0.4, 0.6, 0.8, 1.0), AFTER, "breaking number", BROKEN),
    _row("break uncalled for", "breaking", breaks.uncalled, SHARES, "share of frames", "breaking number bulk", BROKEN),
    _row("lost piece", "pieces", breaks.lost, PARTS, AFTER, "number bulk", BROKEN),
    _row("small pieces", "area kept", breaks.shrunk, (0.08, 0.15, 0.25, 0.35, 0.5), "r / (1 + s)", "bulk", BROKEN),
    _row("merging", "staying broken", breaks.merged, PARTS, AFTER, "breaking number", BROKEN),
)  # fmt: skip

EVERY_CORRUPTION: tuple[Corruption, ...] = (*CORRUPTIONS, *BENCH_CORRUPTIONS)
