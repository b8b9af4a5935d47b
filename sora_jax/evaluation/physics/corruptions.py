"""Graded violations of one thing each, as a table: a true state edited, then drawn as any state is.

`Corruption.apply(state, dose, rng, shot)` returns the edited state, or None where the clip has nothing to
corrupt (no second colour to exchange, no room for a visitor). Only what a picture is drawn from is edited:
bodies, positions, angles, alive. A body whose look changes in time is two bodies of which one is alive.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sora_jax.evaluation.physics import edits_looks as looks
from sora_jax.evaluation.physics import edits_motion as motion
from sora_jax.evaluation.physics.edits import Edit
from sora_jax.evaluation.physics.suite import MOVING, PROPERTIES, STRAIGHT, Judged, Violation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corruption:
    """One graded violation.

    Attributes:
      name: unique; failure: that of the metrics which have to see it.
      families: of worlds it is applied to.
      doses: ascending, at least five; the first is the smallest that can be seen.
      unit: of the doses.
      changes: keys of `suite.PROPERTIES`, all that it changes by nature.
      apply: see `edits.Edit`.
    """

    name: str
    failure: str
    families: tuple[str, ...]
    doses: tuple[float, ...]
    unit: str
    changes: frozenset[str]
    apply: Edit

    @property
    def failures(self) -> frozenset[str]:
        """Of the metrics that have to see it."""
        return frozenset({self.failure})


def corruption(
    name: str,
    failure: str,
    apply: Edit,
    *,
    doses: Sequence[float],
    unit: str,
    changes: str,
    families: Sequence[str] = MOVING,
) -> Corruption:
    """A line of the table; `changes` are words of `suite.PROPERTIES`.

    Raises:
      ValueError: a word that is no property, doses that do not ascend, or fewer than five.
    """
    words = frozenset(changes.split())
    if unknown := words - PROPERTIES.keys():
        raise ValueError(f"{name} changes {sorted(unknown)}: not among {sorted(PROPERTIES)}")
    if len(doses) < 5 or sorted(set(doses)) != list(doses):
        raise ValueError(f"doses {tuple(doses)} of {name}: give at least five, ascending")
    return Corruption(
        name=name,
        failure=failure,
        families=tuple(families),
        doses=tuple(doses),
        unit=unit,
        changes=words,
        apply=apply,
    )


SHARES = (0.15, 0.3, 0.5, 0.7, 1.0)  # of the frames, at their end
GAPS = (0.12, 0.2, 0.3, 0.45, 0.6)  # of the frames, anywhere
LEAVING = "absence number"  # a changed path may leave the frame earlier or later than the true one
PATHS = "place sides levels"  # and changes where an object is, in itself and beside others

CORRUPTIONS: tuple[Corruption, ...] = (
    corruption(
        "slower",
        "velocity",
        motion.slower,
        doses=(0.15, 0.3, 0.6, 1.0, 2.0),
        unit="speed / (1 + s)",
        changes=f"speed place {LEAVING}",
        families=STRAIGHT,
    ),
    corruption(
        "backwards",
        "velocity",
        motion.backwards,
        doses=(0.3, 0.45, 0.6, 0.8, 1.0),
        unit="share of frames",
        changes=f"heading steps place speed bend {LEAVING}",
        families=("uniform", "parabola", "beside"),
    ),
    corruption(
        "jump",
        "position",
        motion.jumped,
        doses=(0.3, 0.6, 1.2, 2.0, 3.0),
        unit="world units",
        changes=f"steps heading speed {PATHS}",
    ),
    corruption(
        "jitter",
        "steadiness",
        motion.shaken,
        doses=(0.04, 0.08, 0.16, 0.3, 0.5),
        unit="world units",
        changes=f"steps heading speed bend overlap {PATHS} {LEAVING}",
    ),
    corruption(
        "gravity",
        "gravity",
        motion.heavier,
        doses=(0.1, 0.2, 0.4, 0.7, 1.0),
        unit="g (1 + s)",
        changes=f"bend place {LEAVING}",
        families=("parabola",),
    ),
    corruption(
        "dull bounce",
        "restitution",
        motion.dulled,
        doses=(0.1, 0.2, 0.35, 0.5, 0.8),
        unit="e - s",
        changes=f"impulse energy speed heading {PATHS}",
        families=("bounce",),
    ),
    corruption(
        "dull hit",
        "energy",
        motion.dulled,
        doses=(0.15, 0.3, 0.5, 0.7, 1.0),
        unit="e - s",
        changes=f"impulse energy speed heading {PATHS} {LEAVING}",
        families=("collision",),
    ),
    corruption(
        "deflection",
        "momentum",
        motion.deflected,
        doses=(15.0, 30.0, 50.0, 70.0, 100.0),
        unit="degrees",
        changes=f"impulse momentum heading {PATHS} {LEAVING}",
        families=("collision",),
    ),
    corruption(
        "sinking in",
        "penetration",
        motion.sunk,
        doses=(0.3, 0.4, 0.5, 0.6, 0.75),
        unit="share of the distance",
        changes=f"overlap impulse energy speed heading {PATHS} {LEAVING}",
        families=("collision",),
    ),
    corruption(
        "ghost",
        "response",
        motion.ghostly,
        doses=(0.2, 0.4, 0.6, 0.8, 1.0),
        unit="share of no contact",
        changes=f"overlap impulse energy speed heading {PATHS} {LEAVING}",
        families=("collision",),
    ),
    corruption(
        "cut off",
        "framing",
        motion.cut_off,
        doses=(0.15, 0.25, 0.4, 0.55, 0.7),
        unit="share of frames",
        changes=f"framing steps heading speed bend size growth exchange {PATHS} {LEAVING}",
    ),
    corruption(
        "visitor",
        "count",
        looks.visited,
        doses=(0.12, 0.25, 0.45, 0.7, 1.0),
        unit="share of frames",
        changes="number existence",
    ),
    corruption(
        "vanishing",
        "count",
        looks.vanished,
        doses=GAPS,
        unit="share of frames",
        changes="absence number existence",
    ),
    corruption(
        "blinking",
        "births and deaths",
        looks.blinked,
        doses=(1, 2, 3, 4, 5),
        unit="gaps of a frame",
        changes="absence number existence",
    ),
    corruption(
        "twin",
        "clones",
        looks.doubled,
        doses=(0.12, 0.25, 0.45, 0.7, 1.0),
        unit="share of frames",
        changes="twins number existence",
    ),
    corruption(
        "exchange",
        "identity",
        looks.exchanged,
        doses=(1, 2, 3, 4, 5),
        unit="exchanges",
        changes=f"exchange steps heading speed growth bend energy momentum impulse {PATHS}",
    ),
    corruption(
        "mirror",
        "left or right",
        motion.mirrored,
        doses=SHARES,
        unit="share of frames",
        changes="sides place steps heading momentum",
    ),
    corruption(
        "upside down",
        "above or below",
        motion.flipped,
        doses=SHARES,
        unit="share of frames",
        changes="levels place steps heading bend momentum",
    ),
    corruption(
        "turn",
        "direction",
        motion.turned,
        doses=(60.0, 90.0, 120.0, 150.0, 180.0),
        unit="degrees",
        changes=f"heading {PATHS} {LEAVING}",
        families=STRAIGHT,
    ),
    corruption(
        "other pace",
        "speed word",
        motion.slower,
        doses=(0.6, 1.0, 1.5, 2.5, 4.0),
        unit="speed / (1 + s)",
        changes=f"speed place {LEAVING}",
        families=STRAIGHT,
    ),
    corruption(
        "recolor", "color", looks.recolored, doses=SHARES, unit="share of frames", changes="color pairing"
    ),
    corruption(
        "reshape", "shape", looks.reshaped, doses=SHARES, unit="share of frames", changes="shape pairing"
    ),
    corruption(
        "color swap",
        "pairing",
        looks.swapped,
        doses=SHARES,
        unit="share of frames",
        changes="pairing exchange sides levels",
    ),
    corruption(
        "smaller", "size", looks.resized, doses=(0.15, 0.3, 0.5, 0.8, 1.2), unit="r / (1 + s)", changes="size"
    ),
    corruption(
        "shrinking",
        "constancy",
        looks.shrunk,
        doses=(0.15, 0.3, 0.5, 0.8, 1.2),
        unit="r / (1 + s)",
        changes="growth size",
    ),
)


def related(metric: Judged, of: Violation) -> str | None:
    """Why a metric must or may see a corruption by nature; None where it must not."""
    if metric.failure in of.failures:
        return "its own failure"
    shared = sorted(metric.reads & of.changes)
    return "; ".join(f"both concern {PROPERTIES[name]}" for name in shared) or None
