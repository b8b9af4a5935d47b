"""Scores of a parsed clip against what a prompt states (`Facts`): count, attributes, signed relations.

`metric(tracks, truth) -> per-clip score`. Accuracies lie in [0, 1], 1 is best; NaN means that the truth says
nothing of the kind, and such clips do not enter that average. What was asked for and is missing scores 0, an
unparsable clip scores 0 on everything: nothing is dropped. `state_metrics` scores against an exact state.

Each metric sees one failure; what it does not see is said in its docstring.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.worlds.facts import BECOMES, RELATIONS, STILL, Facts, ObjectFacts, ends
from sora_jax.worlds.scene import DIRECTIONS, RADIUS, SPEEDS

END = 0.12  # share of the frames that show what a thing was before it turned, or what it is after
STANDING = 0.3  # share of the frames an object must be seen in to be one that the clip shows
MOVED = 0.4  # world units of net displacement: more is motion, less is rest
TURN = math.pi / 4  # radians a direction may be off
FACT_METRICS = ("count", "color", "shape", "size", "direction", "rest", "speed", "relation")
LEFT_RIGHT = ("direction left/right", "relation left/right")


def standing(tracks: Tracks) -> Int[np.ndarray, " k"]:
    """Tracks of objects that the clip shows for at least `STANDING` of its frames."""
    return np.flatnonzero(tracks.present.mean(axis=0) >= STANDING)


def count_seen(tracks: Tracks) -> int:
    """The largest number of objects seen at once in at least `STANDING` of the frames.

    So a flicker does not count, nor a leaving at the end; births and deaths see those.
    """
    seen = np.sort(tracks.present.sum(axis=1))[::-1]
    return int(seen[math.ceil(STANDING * len(seen)) - 1])


def clear_frames(tracks: Tracks, o: int, *, least: float = 0.95) -> Int[np.ndarray, " k"]:
    """Frames that show more than the share `least` of track `o`; if fewer than three, all that show it.

    A cut-off object's centroid is pulled away from the border.
    """
    whole = np.flatnonzero(tracks.present[:, o] & (tracks.visible[:, o] > least))
    return whole if len(whole) > 2 else np.flatnonzero(tracks.present[:, o])


def displacement(tracks: Tracks, o: int) -> Float[np.ndarray, " 2"]:
    """Net displacement, world units, from the first to the last frame that show over half of track `o`."""
    clear = clear_frames(tracks, o, least=0.5)
    return tracks.position[clear[-1], o] - tracks.position[clear[0], o]


def fit_velocity(tracks: Tracks, o: int) -> Float[np.ndarray, " 2"]:
    """Least-squares velocity of track `o`, world units/s, over its clear frames; zero if it has but one.

    Frames in which it touches the border are left out too while at least four remain.
    """
    clear = clear_frames(tracks, o)
    inner = clear[~tracks.edge[clear, o]]
    clear = inner if len(inner) >= 4 else clear
    seconds = (clear - clear.mean()) / tracks.fps
    spread = (seconds**2).sum()
    return seconds @ tracks.position[clear, o] / spread if spread > 0 else np.zeros(2)


# What one object must be for each attribute: (tracks, track, stated word) -> right?


def _is_color(tracks: Tracks, o: int, word: str) -> bool:
    return tracks.color[o] == word


def _is_shape(tracks: Tracks, o: int, word: str) -> bool:
    return tracks.shape[o] == word


def _is_size(tracks: Tracks, o: int, word: str) -> bool:
    return min(RADIUS, key=lambda w: abs(math.log(max(tracks.radius[o], 1e-3) / RADIUS[w]))) == word


def _is_direction(tracks: Tracks, o: int, word: str) -> bool:
    x, y = displacement(tracks, o)
    turn = math.remainder(math.atan2(y, x) - DIRECTIONS[word], 2 * math.pi)
    return math.hypot(x, y) > MOVED and abs(turn) <= TURN + 1e-9


def _is_rest(tracks: Tracks, o: int, word: str) -> bool:
    del word
    return math.hypot(*displacement(tracks, o)) <= MOVED


def _is_speed(tracks: Tracks, o: int, word: str) -> bool:
    pace = float(np.hypot(*fit_velocity(tracks, o)))
    if math.hypot(*displacement(tracks, o)) <= MOVED:
        return False
    gaps = {w: max(low - pace, pace - high, 0.0) for w, (low, high) in SPEEDS.items()}
    return min(gaps, key=lambda w: gaps[w]) == word


CHECKS = {
    "color": _is_color,
    "shape": _is_shape,
    "size": _is_size,
    "direction": _is_direction,
    "rest": _is_rest,
    "speed": _is_speed,
}
_WEIGHT = {"color": 1.0, "shape": 0.9, "size": 0.05, "direction": 0.05, "rest": 0.05, "speed": 0.0}


def stated_word(tracks: Tracks, stated: ObjectFacts, name: str) -> str | None:
    """What is said of an object under a name of `CHECKS`; of an image, nothing about motion.

    The direction word "still" is a statement of its own, "rest": a frozen video would satisfy it.
    """
    if name in ("direction", "rest", "speed"):
        still = stated.direction == STILL
        if tracks.frames < 2 or (name != "speed" and still != (name == "rest")):
            return None
    return stated.direction if name == "rest" else getattr(stated, name)


def check(tracks: Tracks, o: int, stated: ObjectFacts) -> dict[str, float]:
    """Per attribute: 1 right, 0 wrong, NaN not stated."""
    words = {name: stated_word(tracks, stated, name) for name in CHECKS}
    return {name: math.nan if w is None else float(CHECKS[name](tracks, o, w)) for name, w in words.items()}


class Match(NamedTuple):
    """Which track is which stated object.

    Attributes:
      track: `[objects]` int, -1 where none is left for it.
      right: per attribute of `CHECKS`, `[objects]`: 1, 0, or NaN where not stated.
    """

    track: Int[np.ndarray, " objects"]
    right: dict[str, Float[np.ndarray, " objects"]]


def match(tracks: Tracks, truth: Facts) -> Match:
    """The best one-to-one assignment of standing tracks to stated objects, by colour, then shape.

    Size and direction only break ties among equals ("two red circles, one moving left"). Relations choose
    only among objects of which exactly the same is said, so that left and right can be wrong.
    """
    shown = standing(tracks)
    results = [[check(tracks, int(o), stated) for o in shown] for stated in truth.objects]
    gain = np.array(
        [[sum(_WEIGHT[k] * np.nan_to_num(v) for k, v in r.items()) for r in row] for row in results]
    )
    track = np.full(len(truth.objects), -1)
    if gain.size:
        rows, columns = linear_sum_assignment(-gain)
        track[rows] = shown[columns]
    track = _settle(tracks, truth, track)
    position = {int(o): k for k, o in enumerate(shown)}
    right: dict[str, np.ndarray] = {}
    for name in CHECKS:
        silent = [stated_word(tracks, stated, name) is None for stated in truth.objects]
        got = [results[i][position[int(o)]][name] if o >= 0 else 0.0 for i, o in enumerate(track)]
        right[name] = np.where(silent, math.nan, np.array(got, float))
    return Match(track, right)


def _settle(tracks: Tracks, truth: Facts, track: np.ndarray) -> np.ndarray:
    """The dealing among equal objects by which most relations hold."""
    if not truth.relations:
        return track
    return max(deals(truth, track), key=lambda t: sum(_holds(tracks, t, r) for r in truth.relations))


def deals(truth: Facts, track: np.ndarray) -> Iterator[np.ndarray]:
    """Every way to deal the tracks of equal objects, of which exactly the same is said, among them."""
    equal: dict[ObjectFacts, list[int]] = {}
    for k, stated in enumerate(truth.objects):
        equal.setdefault(stated, []).append(k)
    groups = list(equal.values())
    for orders in itertools.product(*map(itertools.permutations, groups)):
        choice = track.copy()
        for group, order in zip(groups, orders, strict=True):
            choice[group] = track[list(order)]
        yield choice


def _holds(tracks: Tracks, track: np.ndarray, relation: tuple[int, str, int]) -> bool:
    """Whether two tracks stand in a relation, by the sign of their mean offset while both are seen."""
    i, word, j = relation
    a, b = track[i], track[j]
    if a < 0 or b < 0:
        return False
    both = np.flatnonzero(tracks.present[:, a] & tracks.present[:, b])
    offset = (tracks.position[both, a] - tracks.position[both, b]) @ np.array(RELATIONS[word], float)
    return bool(len(both)) and float(np.mean(offset)) > 0


def _mean(values: np.ndarray) -> float:
    stated = values[~np.isnan(values)]
    return float(stated.mean()) if len(stated) else math.nan


def count_accuracy(tracks: Tracks, truth: Facts) -> float:
    """1 if as many objects are shown as stated. Blind to what they are, and to flicker."""
    return math.nan if truth.count is None else float(count_seen(tracks) == truth.count)


def attribute_accuracy(tracks: Tracks, truth: Facts, *, attribute: str) -> float:
    """Share of the stated objects of which an attribute, a name of `CHECKS`, is right.

    Direction: net displacement within 45 degrees of the stated one and longer than `MOVED`; rest: no longer.
    Blind to objects beyond the stated ones (count sees them).
    """
    return _mean(match(tracks, truth).right[attribute])


def relation_accuracy(
    tracks: Tracks, truth: Facts, *, matched: Match | None = None, words: Sequence[str] = tuple(RELATIONS)
) -> float:
    """Share of the stated relations among `words` with the right SIGN, over frames that show both objects.

    Of left/right a mirrored video scores 0, not 1. An object that is missing, or of the wrong colour, makes
    its relations wrong; between objects of which the same is said a relation says nothing and does not enter.
    """
    said = [r for r in truth.relations if r[1] in words and truth.objects[r[0]] != truth.objects[r[2]]]
    if not said:
        return math.nan
    matched = matched or match(tracks, truth)
    found = (matched.track >= 0) & ~(matched.right["color"] == 0)
    return float(np.mean([found[r[0]] and found[r[2]] and _holds(tracks, matched.track, r) for r in said]))


def fact_scores(tracks: Tracks, truth: Facts) -> dict[str, float]:
    """`FACT_METRICS`, `LEFT_RIGHT`, "all" (1 if every stated thing is right) and "parsable", at once.

    Where something turns into something else, looks and count are the mean of what the first frames show
    (`END` of them) against what was, and the last against what it became; relations are read at first.
    """
    if not any(verb == BECOMES for verb, *_ in truth.events):
        return _whole_scores(tracks, truth)
    whole = _whole_scores(tracks, ends(truth)[0])
    was, became = (_whole_scores(part, said) for part, said in end_parts(tracks, truth))
    looks = ("count", "color", "shape", "size")
    scores = whole | {name: _mean(np.array([was[name], became[name]])) for name in looks}
    scores |= {name: was[name] for name in ("relation", "relation left/right")}
    stated = [scores[name] for name in FACT_METRICS if not math.isnan(scores[name])]
    return scores | {"all": float(all(v == 1 for v in stated))}


def end_parts(tracks: Tracks, truth: Facts) -> list[tuple[Tracks, Facts]]:
    """The first frames with what was before anything turned, and the last with what was after."""
    few = max(1, round(END * tracks.frames))
    before, after = ends(truth)
    return [(tracks.part(0, few), before), (tracks.part(tracks.frames - few, tracks.frames), after)]


def _whole_scores(tracks: Tracks, truth: Facts) -> dict[str, float]:
    matched = match(tracks, truth)
    scores = {"count": count_accuracy(tracks, truth)}
    scores |= {name: _mean(values) for name, values in matched.right.items()}
    scores["relation"] = relation_accuracy(tracks, truth, matched=matched)
    stated = [v for v in scores.values() if not math.isnan(v)]
    sideways = np.array(
        ["left" in (o.direction or "") or "right" in (o.direction or "") for o in truth.objects]
    )
    sides = {
        "direction left/right": _mean(matched.right["direction"][sideways]),
        "relation left/right": relation_accuracy(
            tracks, truth, matched=matched, words=("left of", "right of")
        ),
    }
    return scores | sides | {"all": float(all(v == 1 for v in stated)), "parsable": float(tracks.parsable)}


def mirrored(truth: Facts) -> Facts:
    """The facts of the left-right mirrored clip: words of direction and relation change sides."""

    def swap(word: str | None) -> str | None:
        if word is None:
            return None
        return word.replace("left", "\0").replace("right", "left").replace("\0", "right")

    objects = tuple(dataclasses.replace(o, direction=swap(o.direction)) for o in truth.objects)
    relations = tuple((i, swap(word) or word, j) for i, word, j in truth.relations)
    events = tuple((swap(verb) or verb, i, j) for verb, i, j in truth.events)
    return dataclasses.replace(truth, objects=objects, relations=relations, events=events)
