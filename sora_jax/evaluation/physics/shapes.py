"""Shape from coverage: moments that blur does not change.

With coverage w over pixels z = x + iy about the centroid and area A = sum w, the harmonic moments
M_n = sum w z^n keep their value under convolution with any radially symmetric kernel (z^n is harmonic: its
mean over a circle is its value at the centre), and so does A. Their magnitudes, made dimensionless, are

    e_n = |M_n| / A^(1 + n/2),        n = 2, 3, 4

and do not depend on position, rotation, size or blur. A disc has e_2 = e_3 = e_4 = 0; a square only e_4; an
equilateral triangle (three-fold symmetry) only e_3; a bar of aspect a has e_2 = (a - 1/a) / 12.
(Complex moments: Flusser 2000, Pattern Recognition 33(9); blur invariance: Flusser & Suk 1998, IEEE TPAMI
20(6).)
"""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
from jaxtyping import Float, Int

from sora_jax.types import Shape

SHAPES: tuple[Shape, ...] = get_args(Shape)

# Of the ideal figures: a unit square has |M_4| = 1/60, an equilateral triangle of circumradius 1 has
# |M_3| = 3 sqrt(3) / 40 and area 3 sqrt(3) / 4.
SQUARE_E4 = 1 / 60
TRIANGLE_E3 = (3 * math.sqrt(3) / 40) / (3 * math.sqrt(3) / 4) ** 2.5


def moment_features(
    x: Float[np.ndarray, " q"],
    y: Float[np.ndarray, " q"],
    weight: Float[np.ndarray, " q"],
    label: Int[np.ndarray, " q"],
    *,
    count: int,
) -> dict[str, np.ndarray]:
    """Area, centroid and (e_2, e_3, e_4) of `count` labelled sets of weighted pixels.

    Args:
      x, y: pixel coordinates, any unit; weight: coverage, about 0 to 1; label: 0 to count - 1.
      count: number of labels; a label without pixels has area 0 and features 0.

    Returns:
      area, x, y: `[count]`; features: `[count 3]`, dimensionless.
    """

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(label, weights=values, minlength=count)

    area = total(weight)
    safe = np.maximum(area, 1e-6)
    centre_x, centre_y = total(weight * x) / safe, total(weight * y) / safe
    z = (x - centre_x[label]) + 1j * (y - centre_y[label])
    features = np.zeros((count, 3))
    power = z
    for n in (2, 3, 4):
        power = power * z
        moment = np.hypot(total(weight * power.real), total(weight * power.imag))
        features[:, n - 2] = moment / safe ** (1 + n / 2)
    return {"area": area, "x": centre_x, "y": centre_y, "features": features}


def classify(features: Float[np.ndarray, "k 3"], *, bar_aspect: float = 1.7) -> Int[np.ndarray, " k"]:
    """Index into `SHAPES` of each row of (e_2, e_3, e_4).

    A figure longer than `bar_aspect` is a bar; else the larger of e_3 and e_4, each as a share of the ideal
    triangle's and square's, decides, and below half of both it is a circle.
    """
    triangle, square = features[:, 1] / TRIANGLE_E3, features[:, 2] / SQUARE_E4
    is_bar = features[:, 0] > (bar_aspect - 1 / bar_aspect) / 12
    pointed = np.where(triangle > square, SHAPES.index("triangle"), SHAPES.index("square"))
    rounded = np.where(np.maximum(triangle, square) > 0.5, pointed, SHAPES.index("circle"))
    return np.where(is_bar, SHAPES.index("bar"), rounded)


def area_radius(area: np.ndarray) -> np.ndarray:
    """Radius of the circle of the same area."""
    return np.sqrt(np.maximum(area, 0) / math.pi)
