"""The certificates of the camera's metrics, over the 3-D room: the gates are those of `certificate`."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from sora_jax.evaluation.physics import certificate, suite_camera
from sora_jax.evaluation.physics.suite_camera import CameraCorruption, CameraMetric
from sora_jax.evaluation.physics.sweep import Say, Sweep, joined, sweep
from sora_jax.evaluation.physics.sweep_camera import camera_tier, make_takes
from sora_jax.models.frozen_autoencoder import FrozenAutoencoder

PICTURE = "matrix_camera.png"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Part:
    """The work of one family, which a process does alone: its clips are compared with no other's."""

    family: str
    number: int
    clips: int
    seed: int
    frames: int
    side: int
    metrics: tuple[CameraMetric, ...]
    corruptions: tuple[CameraCorruption, ...]
    nuisances: bool


def _swept(part: _Part, autoencoder: FrozenAutoencoder | None = None, say: Say = print) -> Sweep:
    say(f"{part.family}: {part.clips} clips")
    takes = make_takes(
        part.family,
        clips=part.clips,
        seed=part.seed + part.number,
        frames=part.frames,
        side=part.side,
        metrics=part.metrics,
        corruptions=part.corruptions,
        first=part.number * part.clips,
    )
    return sweep(
        camera_tier(part.metrics),
        takes,
        corruptions=part.corruptions,
        seed=part.seed,
        autoencoder=autoencoder,
        nuisances=part.nuisances,
        say=say,
    )


def certify(
    metrics: Sequence[CameraMetric] = suite_camera.CAMERA,
    corruptions: Sequence[CameraCorruption] = suite_camera.CAMERA_CORRUPTIONS,
    *,
    clips: int,
    seed: int,
    frames: int = 17,
    side: int = 128,
    families: Sequence[str] = suite_camera.FAMILIES,
    autoencoder: FrozenAutoencoder | None = None,
    nuisances: bool = True,
    workers: int = 1,
    say: Say = lambda line: None,
) -> dict[str, dict[str, Any]]:
    """As `certificate.certify`, of the camera's metrics.

    Args:
      workers: processes, each of a family at a time; the result is the same. More than one only without an
        autoencoder; they print what they do whatever `say` is.

    Raises:
      ValueError: several workers and an autoencoder.
      gl.No3DError: no MuJoCo or no off-screen OpenGL is there.
    """
    parts = [
        _Part(
            family=family,
            number=number,
            clips=clips,
            seed=seed,
            frames=frames,
            side=side,
            metrics=tuple(metrics),
            corruptions=tuple(corruptions),
            nuisances=nuisances,
        )
        for number, family in enumerate(families)
    ]
    if workers > 1 and autoencoder is not None:
        raise ValueError(f"{workers} workers cannot share an autoencoder: use one worker")
    if workers > 1:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(_swept, parts))
    else:
        found = [_swept(part, autoencoder, say) for part in parts]
    return certificate.judge(joined(found), metrics, corruptions, seed=seed)


def run(
    out: Path,
    clips: int,
    *,
    seed: int = 2028,
    frames: int = 17,
    side: int = 128,
    families: Sequence[str] = suite_camera.FAMILIES,
    autoencoder: FrozenAutoencoder | None = None,
    workers: int = 1,
    say: Say = print,
) -> dict[str, dict[str, Any]]:
    """`certify` written to `out`: a JSON per metric and `matrix_camera.png`.

    Args:
      clips: per family; about 20 s of one core each for 17 frames of 96 x 96.
      families: of the 3-D room, among `suite_camera.FAMILIES`.

    Raises:
      ValueError: a family that is not among them; several workers and an autoencoder.
      gl.No3DError: no MuJoCo or no off-screen OpenGL is there.
    """
    if unknown := set(families) - set(suite_camera.FAMILIES):
        raise ValueError(f"families {sorted(unknown)} are not among {', '.join(suite_camera.FAMILIES)}")
    out.mkdir(parents=True, exist_ok=True)
    found = certify(
        clips=clips,
        seed=seed,
        frames=frames,
        side=side,
        families=families,
        autoencoder=autoencoder,
        workers=workers,
        say=say,
    )
    settings = {"clips_per_family": clips, "seed": seed, "frames": frames, "side": side}
    certificate.write(found, out, settings=settings, picture=PICTURE, say=say)
    return found
