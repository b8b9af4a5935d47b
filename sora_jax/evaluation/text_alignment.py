"""Does the video show what the prompt says? Parsed, scored clip by clip, and averaged with intervals.

    table = score_prompts(videos, facts, fps=8.0)      one row per clip
    report = aggregate(table)                          split -> metric -> Score(mean, low, high, clips)

Nulls, by the same code: captions dealt to other clips (`shuffled`), each first frame held still (`frozen`),
and the left-right mirrored statement (in every table, columns "... mirrored"): a score blind to left and
right would not fall.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from sora_jax import rng
from sora_jax.evaluation.physics import events, metrics, state_metrics
from sora_jax.evaluation.physics.tracks import Tracks, parse
from sora_jax.types import SceneState
from sora_jax.worlds.facts import Facts
from sora_jax.worlds.scene import held_out

# One row per clip: metric or property -> [clips] float64, NaN where the prompt states nothing of the kind.
Table = dict[str, np.ndarray]

PROPERTIES = ("objects", "frames", "held_out", "object_seconds", "births", "deaths", "clones")
RATES = {"births_deaths_per_object_second": ("births", "deaths"), "clones_per_object_second": ("clones",)}


class Score(NamedTuple):
    """A mean over clips with its bootstrap 95 % interval; `clips` is how many entered."""

    mean: float
    low: float
    high: float
    clips: int


def _per_clip(fps: float | Sequence[float], clips: int) -> list[float]:
    rates = [float(fps)] * clips if isinstance(fps, int | float) else [float(r) for r in fps]
    if len(rates) != clips:
        raise ValueError(f"{len(rates)} frame rates for {clips} videos: give one number or one per video")
    return rates


def parse_all(
    videos: Iterable[UInt8[np.ndarray, "f h w 3"]], *, fps: float | Sequence[float]
) -> list[Tracks]:
    """Tracks of every video; `fps` is one number for all or one per video."""
    videos = list(videos)
    return [parse(v, fps=r) for v, r in zip(videos, _per_clip(fps, len(videos)), strict=True)]


def score_tracks(
    tracks: Sequence[Tracks], facts: Sequence[Facts], *, states: Sequence[SceneState] | None = None
) -> Table:
    """One row per clip: see `score_prompts`; `states` adds "velocity_error" and "position_error"."""
    if len(tracks) != len(facts):
        raise ValueError(f"{len(tracks)} clips for {len(facts)} prompts: each clip needs its facts")
    rows = []
    for k, (seen, truth) in enumerate(zip(tracks, facts, strict=True)):
        row = metrics.fact_scores(seen, truth)
        opposite = metrics.fact_scores(seen, metrics.mirrored(truth))
        row |= {f"{name} mirrored": opposite[name] for name in metrics.LEFT_RIGHT}
        row["event"] = events.event_accuracy(seen, truth)
        row["unsteadiness"] = _unsteadiness(seen, truth)
        row |= state_metrics.births_deaths(seen)._asdict()
        row |= {"objects": truth.count or len(truth.objects), "frames": seen.frames}
        row["held_out"] = any(
            o.color is not None and o.shape is not None and held_out(o.color, o.shape, direction=o.direction)
            for o in truth.objects
        )
        if states is not None:
            row["velocity_error"] = state_metrics.velocity_error(seen, states[k])
            row["position_error"] = state_metrics.position_error(seen, states[k])
        rows.append(row)
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]} if rows else {}


def _unsteadiness(seen: Tracks, truth: Facts) -> float:
    """Of a single object that is said to move at constant velocity; 10 if it is not found."""
    if len(truth.objects) != 1 or seen.frames < 3 or truth.objects[0].direction in (None, "still"):
        return math.nan
    track = metrics.match(seen, truth).track[0]
    if track < 0:
        return state_metrics.WORST_POSITION
    value = state_metrics.unsteadiness(seen, int(track))
    return state_metrics.WORST_POSITION if math.isnan(value) else value


def score_prompts(
    videos: Iterable[UInt8[np.ndarray, "f h w 3"]],
    facts: Sequence[Facts],
    *,
    fps: float | Sequence[float],
    states: Sequence[SceneState] | None = None,
) -> Table:
    """Scores of each video against what its prompt states.

    Args:
      videos: uint8; an image is one frame.
      facts: of each prompt (`worlds.parse.parse_prompt`) or of each true state (`worlds.facts.facts`).
      fps: one number for all or one per video.
      states: exact states, if the videos are of these very scenes (truth, reconstructions).

    Returns:
      `metrics.FACT_METRICS`, `LEFT_RIGHT` and these "mirrored", "event", "all" (but events), "parsable": 0 to
      1, NaN = not stated;
      "unsteadiness", "velocity_error" (world units/s), "position_error" (world units): errors;
      "births", "deaths", "clones", "object_seconds"; "objects" (stated), "frames", "held_out": for splitting.
    """
    return score_tracks(parse_all(videos, fps=fps), facts, states=states)


def splits(table: Table) -> dict[str, np.ndarray]:
    """Name -> which clips: by number of objects, by image or video, by held-out combination."""
    count, one_frame, novel = table["objects"], table["frames"] == 1, table["held_out"] > 0
    return {
        "all": np.ones(len(count), bool),
        "one object": count == 1,
        "two objects": count == 2,
        "more objects": count > 2,
        "images": one_frame,
        "videos": ~one_frame,
        "held-out combination": novel,
        "seen combinations": ~novel,
    }


def bootstrap(
    top: Float[np.ndarray, " k"], bottom: Float[np.ndarray, " k"], *, seed: int = 0, draws: int = 1000
) -> Score:
    """sum(top) / sum(bottom) over clips, with the 2.5 and 97.5 percentiles over clips drawn with replacement.

    A mean is the case bottom = 1. (Efron 1979, Ann. Statist. 7(1).) An interval of identical clips has no
    width.
    """
    clips = len(top)
    if clips == 0 or bottom.sum() == 0:
        return Score(math.nan, math.nan, math.nan, clips)
    stream = rng.host(seed, "bootstrap")
    times = stream.multinomial(clips, np.full(clips, 1 / clips), size=draws)
    below = times @ bottom
    ratios = (times @ top)[below > 0] / below[below > 0]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Score(float(top.sum() / bottom.sum()), float(low), float(high), clips)


def aggregate(table: Table, *, seed: int = 0, draws: int = 1000) -> dict[str, dict[str, Score]]:
    """Split -> metric -> Score. Births, deaths, clones become rates; empty splits are left out."""
    report: dict[str, dict[str, Score]] = {}
    for split, chosen in splits(table).items():
        if not chosen.any():
            continue
        scores = {}
        for name in (n for n in table if n not in PROPERTIES):
            values = table[name][chosen]
            values = values[~np.isnan(values)]
            if len(values):
                scores[name] = bootstrap(values, np.ones(len(values)), seed=seed, draws=draws)
        video = chosen & (table["frames"] > 1)
        if video.any():
            for name, parts in RATES.items():
                happened = np.sum([table[part][video] for part in parts], axis=0)
                scores[name] = bootstrap(happened, table["object_seconds"][video], seed=seed, draws=draws)
        report[split] = scores
    return report


def deal(count: int, *, seed: int = 0) -> np.ndarray:
    """A permutation of `count` clips that leaves none in place (a random cycle)."""
    if count < 2:
        raise ValueError(f"cannot shuffle the captions of {count} clips: give at least 2")
    order = rng.host(seed, "shuffled captions").permutation(count)
    other = np.empty(count, int)
    other[order] = np.roll(order, 1)
    return other


def shuffled(tracks: Sequence[Tracks], facts: Sequence[Facts], *, seed: int = 0) -> Table:
    """Null: every clip scored against another clip's prompt."""
    return score_tracks(tracks, [facts[k] for k in deal(len(facts), seed=seed)])


def frozen(
    videos: Iterable[UInt8[np.ndarray, "f h w 3"]], facts: Sequence[Facts], *, fps: float | Sequence[float]
) -> Table:
    """Null: every clip's first frame, held."""
    return score_prompts([np.repeat(v[:1], len(v), axis=0) for v in videos], facts, fps=fps)
