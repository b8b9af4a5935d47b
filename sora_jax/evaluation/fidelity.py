"""Pixel fidelity of a reconstruction: PSNR and SSIM, per clip."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, UInt8
from scipy.ndimage import correlate1d


def _same_shape(video: np.ndarray, reference: np.ndarray) -> None:
    if video.shape != reference.shape or video.dtype != np.uint8 or reference.dtype != np.uint8:
        raise ValueError(
            f"expected two uint8 videos of one shape, got {video.dtype} {video.shape} and "
            f"{reference.dtype} {reference.shape}"
        )


def psnr(
    video: UInt8[np.ndarray, "f h w 3"], reference: UInt8[np.ndarray, "f h w 3"], *, ceiling: float = 100.0
) -> float:
    """Peak signal-to-noise ratio in dB, peak 255, of the mean squared error over the whole clip.

    Identical clips have `ceiling`, so that a mean over clips is finite.
    """
    _same_shape(video, reference)
    error = float(np.mean((video.astype(np.float32) - reference.astype(np.float32)) ** 2))
    return ceiling if error == 0 else min(ceiling, 10 * math.log10(255.0**2 / error))


def gaussian_window(sigma: float = 1.5, radius: int = 5) -> Float[np.ndarray, " k"]:
    """The 11-tap window of Wang et al. 2004, sum 1."""
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return taps / taps.sum()


def ssim(video: UInt8[np.ndarray, "f h w 3"], reference: UInt8[np.ndarray, "f h w 3"]) -> float:
    """Mean structural similarity, 1 = identical (Wang et al. 2004, IEEE TIP 13(4), Eq. 13).

    K1 = 0.01, K2 = 0.03, an 11x11 Gaussian window of sigma 1.5 over the places where it fits, mean over
    frames and channels.
    Differs: on R, G and B instead of luma, so that a change of hue alone is seen.

    Raises:
      ValueError: if the clips differ in shape or a side is under 11 pixels.
    """
    _same_shape(video, reference)
    if min(video.shape[1:3]) < 11:
        raise ValueError(f"ssim needs sides of at least 11 pixels, got {video.shape[1:3]}")
    taps = gaussian_window()
    inner = (slice(None), slice(5, -5), slice(5, -5))

    def smooth(values: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(values, taps, axis=1), taps, axis=2)[inner]

    a, b = video.astype(np.float64), reference.astype(np.float64)
    mean_a, mean_b = smooth(a), smooth(b)
    var_a, var_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
    covariance = smooth(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return float(np.mean(luminance * structure))
