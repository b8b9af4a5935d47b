"""How far a set of generated videos lies from a set of real ones, as sets of feature vectors.

    Frechet   |m - m'|^2 + tr(C + C' - 2 (C^(1/2) C' C^(1/2))^(1/2))     of means and covariances
    kernel    mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)

(Heusel et al. 2017, arXiv 1706.08500, Eq. 6; Gretton et al. 2012, JMLR 13, Eq. 3, with the kernel of
Binkowski et al. 2018, arXiv 1801.01401, Sec. 4.1.) The first is 0 only in the limit: between n samples of one
round Gaussian in d dimensions it is about tr(C) (d + 5) / (2 n), so a number without its n, its
floor (real against real) and its curve over n says little. The second has no bias, and may be negative.

The trace term is the nuclear norm of C^(1/2) C'^(1/2), hence of A B^T with any A^T A = C and B^T B = C', the
centred samples themselves or their QR factors: exact to rounding whatever the rank, where a matrix square
root of C C' loses half of the digits or turns complex.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from sora_jax import rng
from sora_jax.evaluation import video_features
from sora_jax.evaluation.video_features import Features

Set = Float[np.ndarray, "n d"]
Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
Measure = Callable[[np.ndarray, np.ndarray], float]
FEWEST = 8  # samples of each set


class Distance(NamedTuple):
    """One distance of two sets, and what it has to be read beside.

    Attributes:
      value: of all samples.
      low, high: its 95 % bootstrap interval over samples of both sets.
      floor: of two random halves of the real set, mean over splits.
      floor_low, floor_high: the least and the greatest of the splits.
      at_floor_size: of as many samples of both sets as those halves have: what to compare the floor with.
      limit: the intercept of the curve over 1 / n, for infinitely many samples.
      curve: (n, mean distance of n samples of each).
    """

    value: float
    low: float
    high: float
    floor: float
    floor_low: float
    floor_high: float
    at_floor_size: float
    limit: float
    curve: tuple[tuple[int, float], ...]


def frechet_distance(a: Set, b: Set) -> float:
    """The Frechet distance (squared, as is the custom) of Gaussians of the samples' means and covariances."""
    _check(a, b)
    return _frechet(a.mean(axis=0), _factor(a), b.mean(axis=0), _factor(b))


def frechet_of_moments(
    mean: Float[np.ndarray, " d"],
    covariance: Float[np.ndarray, "d d"],
    other_mean: Float[np.ndarray, " d"],
    other_covariance: Float[np.ndarray, "d d"],
) -> float:
    """The same of known moments. Raises ValueError for a covariance that is not symmetric and positive."""
    return _frechet(mean, _root(covariance), other_mean, _root(other_covariance))


def _frechet(mean: np.ndarray, factor: np.ndarray, other_mean: np.ndarray, other: np.ndarray) -> float:
    cross = np.linalg.svd(factor @ other.T, compute_uv=False).sum()
    apart = float(((mean - other_mean) ** 2).sum())
    return max(0.0, apart + float((factor**2).sum() + (other**2).sum() - 2 * cross))


def _factor(samples: np.ndarray) -> np.ndarray:
    """A `[min(n, d) d]` with A^T A the unbiased covariance."""
    centred = (samples - samples.mean(axis=0)) / np.sqrt(len(samples) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r")) if len(samples) > samples.shape[1] else centred


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    least, size = float(values[0]), max(float(np.abs(values).max()), 1e-300)
    if least < -1e-6 * size or not np.allclose(covariance, covariance.T, atol=1e-6 * size):
        raise ValueError(
            f"a covariance with least eigenvalue {least:.3g} of {size:.3g}: give a symmetric PSD"
        )
    return np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T


def polynomial_kernel(a: Set, b: Set) -> Float[np.ndarray, "n m"]:
    """(x . y / d + 1)^3 (Binkowski et al. 2018): features of the scale of 1."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def rbf_kernel(bandwidth: float) -> Kernel:
    """exp(-|x - y|^2 / (2 bandwidth^2)); see `median_bandwidth`."""
    if not bandwidth > 0:
        raise ValueError(f"bandwidth {bandwidth}: use a number above 0")

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-_squared_distances(a, b) / (2 * bandwidth**2))

    return kernel


def median_bandwidth(a: Set) -> float:
    """The median distance between two samples (Gretton et al. 2012, Sec. 8)."""
    return float(np.sqrt(np.median(_squared_distances(a, a)[np.triu_indices(len(a), 1)])))


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0.0)


def kernel_distance(a: Set, b: Set, *, kernel: Kernel = polynomial_kernel) -> float:
    """The unbiased squared maximum mean discrepancy; negative about as often as not for equal sets."""
    _check(a, b)
    ones = np.ones(len(a)), np.ones(len(b))
    return _weighted_mmd(kernel(a, a), kernel(b, b), kernel(a, b), *ones)


def _weighted_mmd(aa: np.ndarray, bb: np.ndarray, ab: np.ndarray, wa: np.ndarray, wb: np.ndarray) -> float:
    """With a sample counted w times; a sample is never paired with itself, however often it counts."""

    def inside(gram: np.ndarray, w: np.ndarray) -> float:
        return float((w @ gram @ w - w**2 @ np.diag(gram)) / (w.sum() ** 2 - (w**2).sum()))

    return inside(aa, wa) + inside(bb, wb) - 2 * float(wa @ ab @ wb / (wa.sum() * wb.sum()))


def sample_size_curve(
    measure: Measure, a: Set, b: Set, *, points: int = 6, repeats: int = 8, seed: int = 0
) -> tuple[tuple[int, float], ...]:
    """(n, mean of `measure` over draws of n samples of each set), n from a quarter of the smaller set to all.

    Drawn without replacement. The 1 / n are evenly spaced, so that the line through them is well determined.
    """
    most = min(len(a), len(b))
    sizes = np.unique((1 / np.linspace(4 / most, 1 / most, points)).round().astype(int))
    stream, curve = rng.host(seed, "sample sizes"), []
    for n in sizes:
        values = [
            measure(a[stream.permutation(len(a))[:n]], b[stream.permutation(len(b))[:n]])
            for _ in range(repeats)
        ]
        curve.append((int(n), float(np.mean(values))))
    return tuple(curve)


def limit(curve: Sequence[tuple[int, float]]) -> float:
    """What the curve tends to: the intercept of a line over 1 / n (Chong & Forsyth 2020, arXiv 1911.07023).

    May be below 0: the bias goes as 1 / n only to first order, which n near the dimension is far from.
    """
    n, value = np.array(curve, float).T
    return float(np.polyfit(1 / n, value, 1)[1]) if len(n) > 1 else float(value[0])


def real_floor(
    measure: Measure, real: Set, *, splits: int = 16, seed: int = 0
) -> Float[np.ndarray, " splits"]:
    """`measure` between two random halves of the real set, per split."""
    stream, half = rng.host(seed, "floor"), len(real) // 2
    orders = [stream.permutation(len(real)) for _ in range(splits)]
    return np.array([measure(real[order[:half]], real[order[half : 2 * half]]) for order in orders])


def frechet_interval(a: Set, b: Set, *, draws: int = 200, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the Frechet distance over samples drawn with replacement.

    Differs from the percentile interval: a drawn set has fewer distinct samples, so a greater distance; the
    mean over the draws is brought back to the value of the sets.
    """
    stream = rng.host(seed, "bootstrap")
    drawn = np.array([frechet_distance(_redrawn(stream, a), _redrawn(stream, b)) for _ in range(draws)])
    low, high = np.percentile(drawn - drawn.mean(), [2.5, 97.5]) + frechet_distance(a, b)
    return max(0.0, float(low)), float(high)


def _redrawn(stream: np.random.Generator, samples: np.ndarray) -> np.ndarray:
    return samples[stream.integers(len(samples), size=len(samples))]


def kernel_interval(
    a: Set, b: Set, *, kernel: Kernel = polynomial_kernel, draws: int = 200, seed: int = 0
) -> tuple[float, float]:
    """95 % interval over samples drawn with replacement, none of which is paired with itself."""
    stream, grams = rng.host(seed, "bootstrap"), (kernel(a, a), kernel(b, b), kernel(a, b))
    weights = [
        [stream.multinomial(len(s), np.full(len(s), 1 / len(s))).astype(float) for s in (a, b)]
        for _ in range(draws)
    ]
    low, high = np.percentile([_weighted_mmd(*grams, *w) for w in weights], [2.5, 97.5])
    return float(low), float(high)


def compare(real: Set, generated: Set, *, draws: int = 200, seed: int = 0) -> dict[str, Distance]:
    """ "frechet", "kernel" (polynomial) and "kernel rbf" (bandwidth = the real set's median distance)."""
    _check(real, generated, fewest=FEWEST)
    seeds = {"draws": draws, "seed": seed}
    table = {
        "frechet": _distance(
            frechet_distance, frechet_interval(real, generated, **seeds), real, generated, seed
        )
    }
    kernels = {"kernel": polynomial_kernel, "kernel rbf": rbf_kernel(median_bandwidth(real) or 1.0)}
    for name, kernel in kernels.items():
        measure = functools.partial(kernel_distance, kernel=kernel)
        interval = kernel_interval(real, generated, kernel=kernel, **seeds)
        table[name] = _distance(measure, interval, real, generated, seed)
    return table


def _distance(
    measure: Measure, interval: tuple[float, float], real: np.ndarray, generated: np.ndarray, seed: int
) -> Distance:
    floors = real_floor(measure, real, seed=seed)
    half = min(len(real) // 2, len(generated))
    stream = rng.host(seed, "floor size")
    same = [
        measure(
            real[stream.permutation(len(real))[:half]], generated[stream.permutation(len(generated))[:half]]
        )
        for _ in range(len(floors))
    ]
    curve = sample_size_curve(measure, real, generated, seed=seed)
    return Distance(
        value=measure(real, generated),
        low=interval[0],
        high=interval[1],
        floor=float(floors.mean()),
        floor_low=float(floors.min()),
        floor_high=float(floors.max()),
        at_floor_size=float(np.mean(same)),
        limit=limit(curve),
        curve=curve,
    )


Videos = str | Path | Sequence[UInt8[np.ndarray, "f h w 3"]]


def compare_videos(
    real: Videos, generated: Videos, *, features: Features, draws: int = 200, seed: int = 0
) -> dict[str, Any]:
    """The table of two sets of videos on stated features, ready for JSON.

    Args:
      real, generated: a folder of video files each, or the videos themselves.
      features: see `video_features.autoencoder_features` and `video_features.load_features`.

    Returns:
      "features": their name; "dimension"; "real", "generated": how many videos entered; "unreadable": paths
      that could not be read, of both; "distances": name -> the fields of `Distance`.

    Raises:
      ValueError: fewer than `FEWEST` readable videos in a set.
      TooManyBadError: more unreadable files than `video_features.MAX_BAD_SHARE` of a folder.
    """
    bad: list[str] = []
    sets = [
        video_features.compute(features, video_features.videos(s, unreadable=bad)) for s in (real, generated)
    ]
    distances = compare(*sets, draws=draws, seed=seed)
    return {
        "features": features.name,
        "dimension": sets[0].shape[1],
        "real": len(sets[0]),
        "generated": len(sets[1]),
        "unreadable": bad,
        "distances": {name: distance._asdict() for name, distance in distances.items()},
    }


def _check(a: np.ndarray, b: np.ndarray, *, fewest: int = 2) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < fewest:
        raise ValueError(f"features {a.shape} and {b.shape}: give [n d] of one d, at least {fewest} of each")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features that are not finite: look at the videos or the feature network")
