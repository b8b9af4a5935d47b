"""The measurements that a certificate is made of: every metric on every worn, corrupted and null version.

Each table is an array over (scene, metric), with a dose axis in front where there is one; NaN = does not
apply. A corruption's dose series of one scene shares its random stream, so that only the dose differs, and a
scene enters only if every dose can be applied to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from sora_jax import rng as rng_lib
from sora_jax.evaluation.physics import wear
from sora_jax.evaluation.physics.corruptions import Corruption
from sora_jax.evaluation.physics.edits import Shot, draw
from sora_jax.evaluation.physics.suite import METRICS, MOVING, Metric, observe
from sora_jax.models.frozen_autoencoder import FrozenAutoencoder
from sora_jax.types import SceneState
from sora_jax.worlds.bench.source import BENCH_FAMILIES, BenchSource
from sora_jax.worlds.source import WorldSource

CANDIDATES = 8  # scenes drawn for each that is chosen

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """One held-out rollout: its state, how it is filmed, and its number, which keys its random streams."""

    number: int
    state: SceneState
    shot: Shot


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """All scores.

    Attributes:
      scenes: the scenes, in the order of the scene axis.
      raw: `[n m]` of the true frames; mp4, autoencoder: through these (the latter None if not given).
      corrupted: name -> `[doses n m]`; nuisance, null: name -> `[n m]`.
    """

    scenes: tuple[Scene, ...]
    raw: Float[np.ndarray, "n m"]
    mp4: Float[np.ndarray, "n m"]
    autoencoder: Float[np.ndarray, "n m"] | None
    corrupted: dict[str, Float[np.ndarray, "d n m"]]
    nuisance: dict[str, Float[np.ndarray, "n m"]]
    null: dict[str, Float[np.ndarray, "n m"]]


def make_scenes(
    *,
    clips: int,
    seed: int,
    frames: int,
    side: int,
    families: Sequence[str] = MOVING,
    metrics: Sequence[Metric] = METRICS,
) -> tuple[Scene, ...]:
    """`clips` scenes of each family, any combination of looks, square.

    A quarter of a family's are as they come. The others are chosen, of `CANDIDATES` times as many, by what
    the truth says: each next one is that to which most metrics apply that have had few, so that a relation
    or a collision seen before and after is measured often enough. Of a benchmark family: the first variant of
    each case, as long as the family needs whatever `frames` is.
    """
    blank = observe(np.full((frames, side, side, 3), 240, np.uint8), fps=12.0)
    scenes: list[Scene] = []
    for number, family in enumerate(families):
        if family in BENCH_FAMILIES:
            of_bench = _bench_scenes(family, clips=clips, seed=seed + number, side=side)
            scenes += [dataclasses.replace(s, number=len(scenes) + k) for k, s in enumerate(of_bench)]
            continue
        source = WorldSource(
            seed=seed + number,
            length=CANDIDATES * clips,
            families={family: 1.0},
            frames={frames: 1.0},
            sizes={(side, side): 1.0},
            heldout="any",
        )
        drawn = [source[k] for k in range(len(source))]
        found = [(c.state, Shot(fps=c.fps, height=side, width=side)) for c in drawn if c.state is not None]
        says = np.array([[not np.isnan(m.score(blank, state)) for m in metrics] for state, _ in found])
        chosen = list(range(clips // 4))
        while len(chosen) < clips:
            worth = says @ (1 / (1.0 + says[chosen].sum(axis=0)))
            worth[chosen] = -1
            chosen.append(int(worth.argmax()))
        scenes += [
            Scene(number=len(scenes) + k, state=found[c][0], shot=found[c][1]) for k, c in enumerate(chosen)
        ]
    return tuple(scenes)


def _bench_scenes(family: str, *, clips: int, seed: int, side: int) -> list[Scene]:
    source, scenes = BenchSource(family, seed=seed, length=clips, height=side, width=side), []
    for number in range(clips):
        clip = source[number * source.variants]
        assert clip.state is not None
        shot = Shot(fps=clip.fps, height=side, width=side)
        scenes.append(Scene(number=number, state=clip.state, shot=shot))
    return scenes


def measure(
    video: np.ndarray, truth: SceneState, *, fps: float, metrics: Sequence[Metric]
) -> Float[np.ndarray, " m"]:
    """Every metric of one video."""
    observed = observe(video, fps=fps)
    return np.array([metric.score(observed, truth) for metric in metrics])


def _corrupted(
    scenes: Sequence[Scene], corruption: Corruption, *, metrics: Sequence[Metric], seed: int
) -> Float[np.ndarray, "d n m"]:
    table = np.full((len(corruption.doses), len(scenes), len(metrics)), np.nan)
    for n, scene in enumerate(scenes):
        if scene.state.family not in corruption.families:
            continue
        streams = [rng_lib.host(seed, "corruption", corruption.name, scene.number) for _ in corruption.doses]
        edited = [
            corruption.apply(scene.state, dose, stream, scene.shot)
            for dose, stream in zip(corruption.doses, streams, strict=True)
        ]
        for d, state in enumerate(edited if all(e is not None for e in edited) else []):
            assert state is not None
            video = draw(state, scene.shot)
            table[d, n] = measure(video, scene.state, fps=scene.shot.fps, metrics=metrics)
    return table


def _nuisances(
    scenes: Sequence[Scene], *, metrics: Sequence[Metric], seed: int
) -> dict[str, Float[np.ndarray, "n m"]]:
    tables = {}
    for name, film in wear.NUISANCES.items():
        rows = []
        for scene in scenes:
            stream = rng_lib.host(seed, "nuisance", name, scene.number)
            truth, video = film(scene.state, scene.shot, stream)
            rows.append(measure(video, truth, fps=scene.shot.fps, metrics=metrics))
        tables[name] = np.stack(rows)
    return tables


def _nulls(
    scenes: Sequence[Scene], *, metrics: Sequence[Metric], seed: int
) -> dict[str, Float[np.ndarray, "n m"]]:
    rows: dict[str, list[np.ndarray]] = {"frozen": [], "linear": [], "noise": [], "shuffled": []}
    for scene in scenes:
        state, shot = scene.state, scene.shot
        kin = [s for s in scenes if s.state.family == state.family]
        other = kin[(kin.index(scene) + 1) % len(kin)]
        stream = rng_lib.host(seed, "null", scene.number)
        videos = {
            "frozen": draw(wear.frozen(state), shot),
            "linear": draw(wear.extrapolated(state), shot),
            "noise": wear.static(shot, len(state.position), stream),
            "shuffled": draw(other.state, shot),
        }
        for name, video in videos.items():
            rows[name].append(measure(video, state, fps=shot.fps, metrics=metrics))
    return {name: np.stack(values) for name, values in rows.items()}


def sweep(
    scenes: Sequence[Scene],
    *,
    metrics: Sequence[Metric],
    corruptions: Sequence[Corruption],
    seed: int,
    autoencoder: FrozenAutoencoder | None = None,
    nuisances: bool = True,
    say: Say = lambda line: None,
) -> Sweep:
    """Measure everything; `say` is told what is done."""
    videos = [draw(s.state, s.shot) for s in scenes]

    def every(change: Callable[[np.ndarray, Scene], np.ndarray]) -> np.ndarray:
        pairs = zip(scenes, videos, strict=True)
        return np.stack([measure(change(v, s), s.state, fps=s.shot.fps, metrics=metrics) for s, v in pairs])

    raw = every(lambda video, scene: video)
    say(f"{len(scenes)} clips raw")
    mp4 = every(lambda video, scene: wear.through_mp4(video, fps=scene.shot.fps))
    decoded = None
    if autoencoder is not None:
        decoded = every(lambda video, scene: wear.through_autoencoder(video, autoencoder=autoencoder))
        say("through the autoencoder")
    corrupted = {}
    for corruption in corruptions:
        corrupted[corruption.name] = _corrupted(scenes, corruption, metrics=metrics, seed=seed)
        say(f"{corruption.name}: {len(corruption.doses)} doses")
    return Sweep(
        scenes=tuple(scenes),
        raw=raw,
        mp4=mp4,
        autoencoder=decoded,
        corrupted=corrupted,
        nuisance=_nuisances(scenes, metrics=metrics, seed=seed) if nuisances else {},
        null=_nulls(scenes, metrics=metrics, seed=seed),
    )
