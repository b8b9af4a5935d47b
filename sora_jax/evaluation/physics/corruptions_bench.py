"""The table of graded violations of the benchmark's own families, and the whole table."""

from __future__ import annotations

from collections.abc import Sequence

from sora_jax.evaluation.physics import edits_board as games
from sora_jax.evaluation.physics import edits_fracture as breaks
from sora_jax.evaluation.physics import edits_hiding as hides
from sora_jax.evaluation.physics import edits_laws as laws
from sora_jax.evaluation.physics import edits_marks as stains
from sora_jax.evaluation.physics import edits_shots as scenes
from sora_jax.evaluation.physics.corruptions import CORRUPTIONS, SHARES, Corruption, corruption
from sora_jax.evaluation.physics.edits import Edit
from sora_jax.evaluation.physics.suite_bench import (
    BEHIND,
    BOARD,
    BROKEN,
    LAWS,
    MARKED,
    ORDERED,
    SHOTS,
    SWINGS,
)

AFTER = "share of the frames after"
LATE = (0.15, 0.3, 0.45, 0.6, 0.8)  # of the frames after an event, at their beginning
PARTS = (0.2, 0.4, 0.6, 0.8, 1.0)
MORE = (0.1, 0.2, 0.4, 0.7, 1.0)
COUNTS = (1.0, 2.0, 3.0, 4.0, 5.0)


def _row(
    name: str,
    failure: str,
    apply: Edit,
    doses: Sequence[float],
    unit: str,
    changes: str,
    families: tuple[str, ...],
) -> Corruption:
    return corruption(name, failure, apply, doses=doses, unit=unit, changes=changes, families=families)


_HIDDEN = (
    _row("no return", "reappearance", hides.gone, SHARES, AFTER, "return lateness", BEHIND),
    _row("late return", "punctuality", hides.delayed, LATE, AFTER, "lateness", BEHIND),
    _row(
        "displaced", "place on return", hides.shifted, (0.5, 0.75, 1.0, 1.25, 1.5), "radii", "place", BEHIND
    ),
    _row("recolored behind", "color on return", hides.recolored, SHARES, AFTER, "color", BEHIND),
    _row("reshaped behind", "shape on return", hides.reshaped, SHARES, AFTER, "shape", BEHIND),
    _row("swap behind", "color on return", hides.swapped, SHARES, AFTER, "color shape", BEHIND),
)
_MARKED = (
    _row("healing", "mark", stains.healed, SHARES, AFTER, "mark", MARKED),
    _row(
        "mark elsewhere", "mark", stains.displaced, (0.3, 0.45, 0.6, 0.8, 1.0), "world units", "spot", MARKED
    ),
    _row(
        "healing unseen", "mark after a screen", stains.healed_behind, PARTS, "share of mark", "mark", MARKED
    ),
    _row("no mark", "mark by contact", stains.unmarked, PARTS, "share of mark", "mark", MARKED),
    _row(
        "uncaused mark",
        "mark by contact",
        stains.uncaused,
        (0.4, 0.5, 0.65, 0.8, 1.0),
        "share of mark",
        "mark",
        MARKED,
    ),
)
_BROKEN = (
    _row("late break", "breaking", breaks.late, PARTS, AFTER, "breaking number bulk", BROKEN),
    _row(
        "uncalled break",
        "breaking",
        breaks.uncalled,
        SHARES,
        "share of frames",
        "breaking number bulk",
        BROKEN,
    ),
    _row("lost piece", "pieces", breaks.lost, PARTS, AFTER, "number bulk", BROKEN),
    _row(
        "small pieces",
        "area kept",
        breaks.shrunk,
        (0.08, 0.15, 0.25, 0.35, 0.5),
        "r / (1 + s)",
        "bulk",
        BROKEN,
    ),
    _row("merging", "staying broken", breaks.merged, PARTS, AFTER, "breaking number bulk", BROKEN),
)
_TOLD = (
    _row("more cuts", "cuts", scenes.cut_more, COUNTS, "cuts", "cuts place", SHOTS),
    _row("impostor", "cast", scenes.impostor, SHARES, AFTER, "cast color shape", SHOTS),
    _row("cast recolored", "cast", scenes.recolored, SHARES, AFTER, "cast color", SHOTS),
    _row(
        "reordered",
        "order",
        scenes.reordered,
        (0.4, 0.7, 1.3, 1.7, 2.0),
        "share of the gap",
        "order",
        ORDERED,
    ),
)
_LAWS = (
    _row(
        "slow swing", "period", laws.slowed, (0.05, 0.1, 0.2, 0.3, 0.5), "T (1 + s)", "period speed", SWINGS
    ),
    _row(
        "running down",
        "energy over time",
        laws.run_down,
        MORE,
        "pace / (1 + s)",
        "energy speed period",
        ("billiards", *SWINGS),
    ),
    _row(
        "drifting",
        "drift",
        laws.drifted,
        (0.1, 0.2, 0.3, 0.4, 0.5),
        "share of the way",
        "horizon place speed friction energy",
        LAWS,
    ),
    _row("rougher", "friction", laws.rougher, MORE, "a (1 + s)", "friction speed", ("friction",)),
)
_GAMES = (
    _row("jumping", "legal moves", games.jumping, COUNTS, "jumps", "moves", BOARD),
    _row(
        "stopping",
        "policy",
        games.stopping,
        (0.3, 0.45, 0.6, 0.8, 1.0),
        "share of the way",
        "policy map",
        BOARD,
    ),
    _row("walls gone", "map", games.wall_less, PARTS, "share of walls", "map", BOARD),
)

BENCH_CORRUPTIONS: tuple[Corruption, ...] = (*_HIDDEN, *_MARKED, *_BROKEN, *_TOLD, *_LAWS, *_GAMES)

EVERY_CORRUPTION: tuple[Corruption, ...] = (*CORRUPTIONS, *BENCH_CORRUPTIONS)
