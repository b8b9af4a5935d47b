"""What every family of the benchmark gives: variants of one case, each an exact state and its captions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from sora_jax.types import Body, SceneState, Shape, SizeWord
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds.captions import MOST_BYTES
from sora_jax.worlds.placing import Draw

Event = tuple[float, str, int, int]  # seconds, verb, object, object or -1
PLAIN = "The background is plain white."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One clip of a case.

    Attributes:
      name: of the variant, unique in its case.
      state: exact, for every frame (`types.SceneState`); `visible` is filled in by `state.film`.
      captions: "short" and "descriptive".
      possible: whether physics allows it.
      counter: a caption that is false of this clip and true of another (mirrored, in reversed order, of
        another policy); None where the family has none.
      measures: numbers of the case by name, in world units, seconds and kg.
    """

    name: str
    state: SceneState
    captions: Mapping[str, str]
    possible: bool = True
    counter: str | None = None
    measures: Mapping[str, float] = dataclasses.field(default_factory=dict)


def cast(
    draw: Draw,
    count: int,
    *,
    shapes: Sequence[Shape] = scene_lib.SHAPES,
    sizes: Sequence[SizeWord] = ("small", "medium"),
    taken: Collection[str] = (),
) -> list[Body]:
    """Bodies of different colours, none of them in `taken`."""
    colors = [color for color in scene_lib.COLORS if color not in taken]
    chosen = draw.rng.permutation(len(colors))[:count]
    return [scene_lib.body(draw.pick(shapes), colors[k], draw.pick(sizes)) for k in chosen]


def screen(color: str, width: float) -> Body:
    """A bar that stands (angle pi / 2): `width` across, three times as high."""
    radius = width * math.sqrt(scene_lib.BAR_ASPECT / math.pi)
    return dataclasses.replace(scene_lib.body("bar", color, "large"), radius=radius, mass=radius**2)


def frame_after(seconds: float, fps: float) -> int:
    """The first frame at or after an instant."""
    return math.ceil(round(seconds * fps, 9))


def straight(draw: Draw, position: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position and velocity `[f o 2]` of uniform motion from `[o 2]` at frame 0."""
    seconds = (np.arange(draw.frames) / draw.fps)[:, None, None]
    return position + seconds * velocity, np.broadcast_to(velocity, (draw.frames, *velocity.shape))


def noun(body: Body, *, size: bool = False, definite: bool = False) -> str:
    """ "a red circle", "a large red circle", "the red circle"."""
    words = ([body.size] if size else []) + [body.color, body.shape]
    name = " ".join(words)
    return f"the {name}" if definite else f"an {name}" if name[0] in "aeiou" else f"a {name}"


def listed(parts: Sequence[str]) -> str:
    """ "x", "x and y", "x, y and z"."""
    return " and ".join(parts) if len(parts) < 3 else ", ".join(parts[:-1]) + " and " + parts[-1]


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def tell(bodies: Sequence[Body], events: Iterable[Event], members: Sequence[int]) -> dict[str, str]:
    """The "short" and "descriptive" captions of events in order of time.

    Args:
      bodies: of the state.
      events: those to mention; of equal ones the first is said.
      members: the objects that the descriptive caption lists first; all objects of the events are among them.
    """
    known: set[int] = set()
    moments: list[list[str]] = []  # clauses, by instant
    sentences, last, before = [], -1, -math.inf
    for seconds, verb, i, j in dict.fromkeys(events):
        names = [noun(bodies[k], definite=k in known) for k in (i, j) if k >= 0]
        known |= {i, j}
        subject = "" if i == last and j != last else f"{names[0]} "
        if seconds - before > 1e-6:
            moments.append([])
        moments[-1].append(subject + verb + "".join(f" {name}" for name in names[1:]))
        whole = [noun(bodies[k], definite=True) for k in (i, j) if k >= 0]
        then = "Then " if sentences and seconds - before > 1e-6 else ""
        sentences.append(capital(then + " ".join([whole[0], verb, *whole[1:]])) + ".")
        last, before = i, seconds
    nouns = [noun(bodies[k], size=True) for k in members]
    opening = f"There {'is' if len(nouns) == 1 else 'are'} {listed(nouns)}."
    short = ", then ".join(map(listed, moments)) or listed([noun(bodies[k]) for k in members])
    long = " ".join([opening, *sentences])
    if len(long) + 1 + len(PLAIN) <= MOST_BYTES:
        long += f" {PLAIN}"
    return {"short": short, "descriptive": long}
