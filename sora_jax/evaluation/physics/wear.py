"""What a video goes through (mp4, autoencoder), what must not matter (nuisances), what must not pass."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping
from fractions import Fraction

import av
import cv2
import numpy as np
from jaxtyping import UInt8

from sora_jax.evaluation.physics.edits import Shot, draw, moved
from sora_jax.models.frozen_autoencoder import FrozenAutoencoder
from sora_jax.types import SceneState
from sora_jax.worlds.scene import COLORS

Video = UInt8[np.ndarray, "f h w 3"]

CRF = 12  # H.264's rate factor of the videos that this project writes
GIVEN = 3  # frames that the linear null goes on from
NOISE = 5.0  # of 255, standard deviation
WHITE, CREAM = (1.0, 1.0, 1.0), (0.97, 0.93, 0.86)


def through_mp4(video: Video, *, fps: float, crf: int = CRF) -> Video:
    """Written and read back as `data.video_files` writes mp4: 8 bits, 4:2:0, H.264. Even sides."""
    rate, memory = Fraction(fps).limit_denominator(1001), io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf)}
        for frame in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    memory.seek(0)
    with av.open(memory, "r", format="mp4") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def through_autoencoder(video: Video, *, autoencoder: FrozenAutoencoder) -> Video:
    """Encoded and decoded; frames and sides have to suit the autoencoder's ratio."""
    return np.asarray(autoencoder.decode(autoencoder.encode(video[None])))[0]


def softened(video: Video, *, sigma: float) -> Video:
    """Blurred by a Gaussian of `sigma` pixels."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in video])


def noisy(video: Video, rng: np.random.Generator) -> Video:
    """With white noise of `NOISE` on every channel."""
    return np.clip(np.round(video + rng.normal(0, NOISE, video.shape)), 0, 255).astype(np.uint8)


def repainted(state: SceneState, rng: np.random.Generator) -> SceneState:
    """The state with the palette's colours dealt out anew, each to one."""
    to = dict(zip(COLORS, rng.permutation(COLORS).tolist(), strict=True))
    bodies = tuple(dataclasses.replace(b, color=to[b.color]) for b in state.bodies)
    marks = tuple(dataclasses.replace(m, color=to[m.color]) for m in state.marks)
    return dataclasses.replace(state, bodies=bodies, marks=marks)


# name -> (state, shot, rng) -> (state, video): the same facts, filmed otherwise.
Nuisance = Callable[[SceneState, Shot, np.random.Generator], tuple[SceneState, Video]]


def _filmed(**changes) -> Nuisance:
    def film(state: SceneState, shot: Shot, rng: np.random.Generator) -> tuple[SceneState, Video]:
        del rng
        return state, draw(state, dataclasses.replace(shot, **changes))

    return film


def _sized(side: int) -> Nuisance:
    def film(state: SceneState, shot: Shot, rng: np.random.Generator) -> tuple[SceneState, Video]:
        del rng
        scale = side / min(shot.height, shot.width)
        size = {"height": round(shot.height * scale), "width": round(shot.width * scale)}
        return state, draw(state, dataclasses.replace(shot, **size))

    return film


def _repainted(state: SceneState, shot: Shot, rng: np.random.Generator) -> tuple[SceneState, Video]:
    other = repainted(state, rng)
    return other, draw(other, shot)


NUISANCES: Mapping[str, Nuisance] = {
    "palette": _repainted,
    "white background": _filmed(background=WHITE),
    "cream background": _filmed(background=CREAM),
    "64 px": _sized(64),
    "96 px": _sized(96),
    "256 px": _sized(256),
    "blur 0.5": lambda state, shot, rng: (state, softened(draw(state, shot), sigma=0.5)),
    "blur 1": lambda state, shot, rng: (state, softened(draw(state, shot), sigma=1.0)),
    "noise 5/255": lambda state, shot, rng: (state, noisy(draw(state, shot), rng)),
}


def frozen(state: SceneState) -> SceneState:
    """The first frame for ever."""
    first = np.zeros(len(state.position), int)
    return moved(state, state.position[first], state.angle[first])


def extrapolated(state: SceneState) -> SceneState:
    """The given frames, then straight on at their last step."""
    late = np.maximum(np.arange(len(state.position)) - (GIVEN - 1), 0)[:, None, None]
    end, step = state.position[GIVEN - 1], state.position[GIVEN - 1] - state.position[GIVEN - 2]
    position = np.where(late > 0, end + late * step, state.position)
    return moved(state, position, np.where(late[..., 0] > 0, state.angle[GIVEN - 1], state.angle))


def static(shot: Shot, frames: int, rng: np.random.Generator) -> Video:
    """Uniform noise in every pixel."""
    return rng.integers(0, 256, (frames, shot.height, shot.width, 3)).astype(np.uint8)
