"""How well an autoencoder gives back clips it was not trained on, watched during its training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Array, UInt8

from sora_jax.models.frozen_autoencoder import to_model, to_pixels
from sora_jax.nn import partition
from sora_jax.types import Params, TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReconstructionEvaluator:
    """Yields the held-out PSNR of the EMA weights and a strip of frames above their reconstruction.

    Attributes:
      reconstruct: (params, video `[b f h w 3]` in [-1, 1]) -> its reconstruction, from the latents' mean.
      videos: one array `[b f h w 3]` uint8 per clip size.
    """

    reconstruct: Callable[[Params, Array], Array]
    videos: Sequence[UInt8[np.ndarray, "b f h w 3"]]
    chunk: int = 16

    def run(self, state: TrainState) -> Iterator[tuple[str, float | np.ndarray]]:
        """`heldout_psnr`: dB of 8-bit pixels, the mean over clips of each clip's own PSNR; and an image."""
        squared = []
        strips = []
        step = jax.jit(
            lambda params, video: partition.whole(to_pixels(self.reconstruct(params, to_model(video))))
        )
        for videos in self.videos:
            for start in range(0, len(videos), self.chunk):
                video = videos[start : start + self.chunk]
                back = np.asarray(step(state.ema, video))
                error = (back.astype(np.float64) - video) ** 2
                squared.append(error.mean(axis=(1, 2, 3, 4)))
                if start == 0:
                    strips.append(_strip(video[0], back[0]))
        mse = np.maximum(np.concatenate(squared), 1e-3)
        yield "heldout_psnr", float(np.mean(10 * np.log10(255.0**2 / mse)))
        yield "heldout_reconstruction", strips[0]


def _strip(video: np.ndarray, back: np.ndarray, frames: int = 5) -> np.ndarray:
    """`[2h frames*w 3]`: evenly spaced frames, and their reconstruction below."""
    at = np.linspace(0, len(video) - 1, min(frames, len(video))).round().astype(int)
    return np.concatenate([np.concatenate(list(v[at]), axis=1) for v in (video, back)], axis=0)
