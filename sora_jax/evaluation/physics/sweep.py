"""The measurements that a certificate is made of: every metric on every worn, corrupted and null version.

Each table is an array over (scene, metric), with a dose axis in front where there is one; NaN = does not
apply. A corruption's dose series of one scene shares its random stream, so that only the dose differs, and a
scene enters only if every dose can be applied to it.

`sweep` is the same for all worlds; what it does with a scene is its `Tier`. `make_scenes` and `objects` are
those of the 2-D worlds; `sweep_camera` has those of the 3-D room.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
from jaxtyping import Float, UInt8

from sora_jax import rng as rng_lib
from sora_jax.evaluation.physics import wear
from sora_jax.evaluation.physics.corruptions import Corruption
from sora_jax.evaluation.physics.edits import Shot, draw
from sora_jax.evaluation.physics.suite import METRICS, MOVING, Metric, Violation, observe
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


Video = UInt8[np.ndarray, "f h w 3"]


class Numbered(Protocol):
    """What a sweep knows of a scene: its number, which keys its random streams."""

    @property
    def number(self) -> int: ...


S = TypeVar("S", bound=Numbered)
C = TypeVar("C", bound=Violation)
Streams = Sequence[np.random.Generator]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tier(Generic[S, C]):
    """What can be done with the scenes of one kind of world.

    Attributes:
      film: the true video of a scene; fps: its frames per second.
      measure: (video, scene) -> every metric's score against the scene's truth.
      corrupt: (scene, corruption, a random stream for each dose) -> a video for each dose, or None where the
        scene has nothing to corrupt.
      nuisances: name -> (scene, stream) -> the same facts filmed otherwise, and the scene that says so.
      nulls: name -> (scene, all scenes, stream) -> a video that must not pass.
    """

    film: Callable[[S], Video]
    fps: Callable[[S], float]
    measure: Callable[[Video, S], Float[np.ndarray, " m"]]
    corrupt: Callable[[S, C, Streams], list[Video] | None]
    nuisances: Mapping[str, Callable[[S, np.random.Generator], tuple[Video, S]]]
    nulls: Mapping[str, Callable[[S, Sequence[S], np.random.Generator], Video]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """All scores.

    Attributes:
      raw: `[n m]` of the true frames; mp4, autoencoder: through these (the latter None if not given).
      corrupted: name -> `[doses n m]`; nuisance, null: name -> `[n m]`.
    """

    raw: Float[np.ndarray, "n m"]
    mp4: Float[np.ndarray, "n m"]
    autoencoder: Float[np.ndarray, "n m"] | None
    corrupted: dict[str, Float[np.ndarray, "d n m"]]
    nuisance: dict[str, Float[np.ndarray, "n m"]]
    null: dict[str, Float[np.ndarray, "n m"]]


def joined(parts: Sequence[Sweep]) -> Sweep:
    """The sweeps of sets of scenes, by the same tables, as that of all of them in order."""

    def along(tables: Sequence[dict[str, np.ndarray]], axis: int) -> dict[str, np.ndarray]:
        return {name: np.concatenate([t[name] for t in tables], axis=axis) for name in tables[0]}

    decoded = [p.autoencoder for p in parts if p.autoencoder is not None]
    return Sweep(
        raw=np.concatenate([p.raw for p in parts]),
        mp4=np.concatenate([p.mp4 for p in parts]),
        autoencoder=np.concatenate(decoded) if decoded else None,
        corrupted=along([p.corrupted for p in parts], 1),
        nuisance=along([p.nuisance for p in parts], 0),
        null=along([p.null for p in parts], 0),
    )


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
        scenes += [
            Scene(number=len(scenes) + k, state=found[c][0], shot=found[c][1])
            for k, c in enumerate(choose(says, clips=clips))
        ]
    return tuple(scenes)


def choose(says: Float[np.ndarray, "n m"] | np.ndarray, *, clips: int) -> list[int]:
    """Rows of a table of what applies to what: a quarter as they come, then each next one by its worth.

    A row's worth is the sum, over what applies to it, of 1 / (1 + the chosen rows that have it already).
    """
    chosen = list(range(clips // 4))
    while len(chosen) < clips:
        worth = says @ (1 / (1.0 + says[chosen].sum(axis=0)))
        worth[chosen] = -1
        chosen.append(int(worth.argmax()))
    return chosen


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


def objects(metrics: Sequence[Metric]) -> Tier[Scene, Corruption]:
    """The tier of the 2-D worlds, judged by `metrics`."""

    def corrupt(scene: Scene, corruption: Corruption, streams: Streams) -> list[Video] | None:
        if scene.state.family not in corruption.families:
            return None
        doses = zip(corruption.doses, streams, strict=True)
        edited = [corruption.apply(scene.state, dose, stream, scene.shot) for dose, stream in doses]
        whole = [state for state in edited if state is not None]
        return [draw(state, scene.shot) for state in whole] if len(whole) == len(edited) else None

    def worn(film: wear.Nuisance) -> Callable[[Scene, np.random.Generator], tuple[Video, Scene]]:
        def change(scene: Scene, stream: np.random.Generator) -> tuple[Video, Scene]:
            truth, video = film(scene.state, scene.shot, stream)
            return video, dataclasses.replace(scene, state=truth)

        return change

    return Tier(
        film=lambda s: draw(s.state, s.shot),
        fps=lambda s: s.shot.fps,
        measure=lambda video, s: measure(video, s.state, fps=s.shot.fps, metrics=metrics),
        corrupt=corrupt,
        nuisances={name: worn(film) for name, film in wear.NUISANCES.items()},
        nulls={
            "frozen": lambda s, every, stream: draw(wear.frozen(s.state), s.shot),
            "linear": lambda s, every, stream: draw(wear.extrapolated(s.state), s.shot),
            "noise": lambda s, every, stream: wear.static(s.shot, len(s.state.position), stream),
            "shuffled": lambda s, every, stream: draw(_other(s, every).state, s.shot),
        },
    )


def _other(scene: Scene, scenes: Sequence[Scene]) -> Scene:
    """The next one of its family."""
    kin = [s for s in scenes if s.state.family == scene.state.family]
    return kin[(kin.index(scene) + 1) % len(kin)]


def sweep(
    tier: Tier[S, C],
    scenes: Sequence[S],
    *,
    corruptions: Sequence[C],
    seed: int,
    autoencoder: FrozenAutoencoder | None = None,
    nuisances: bool = True,
    say: Say = lambda line: None,
) -> Sweep:
    """Measure everything; `say` is told what is done."""
    videos = [tier.film(s) for s in scenes]

    def every(change: Callable[[Video, S], Video]) -> np.ndarray:
        return np.stack([tier.measure(change(v, s), s) for s, v in zip(scenes, videos, strict=True)])

    raw = every(lambda video, scene: video)
    say(f"{len(scenes)} clips raw")
    mp4 = every(lambda video, scene: wear.through_mp4(video, fps=tier.fps(scene)))
    decoded = None
    if autoencoder is not None:
        decoded = every(lambda video, scene: wear.through_autoencoder(video, autoencoder=autoencoder))
        say("through the autoencoder")
    corrupted = {}
    for corruption in corruptions:
        table = np.full((len(corruption.doses), *raw.shape), np.nan)
        for n, scene in enumerate(scenes):
            key = ("corruption", corruption.name, scene.number)
            made = tier.corrupt(scene, corruption, [rng_lib.host(seed, *key) for _ in corruption.doses])
            for d, video in enumerate(made or ()):
                table[d, n] = tier.measure(video, scene)
        corrupted[corruption.name] = table
        say(f"{corruption.name}: {len(corruption.doses)} doses")
    nuisance = {}
    for name, change in tier.nuisances.items() if nuisances else ():
        worn = (change(s, rng_lib.host(seed, "nuisance", name, s.number)) for s in scenes)
        nuisance[name] = np.stack([tier.measure(video, truth) for video, truth in worn])
        say(name)
    null = {}
    for name, make in tier.nulls.items():
        empty = (make(s, scenes, rng_lib.host(seed, "null", s.number)) for s in scenes)
        null[name] = np.stack([tier.measure(video, s) for video, s in zip(empty, scenes, strict=True)])
    return Sweep(raw=raw, mp4=mp4, autoencoder=decoded, corrupted=corrupted, nuisance=nuisance, null=null)
