"""Runs of a known law, for the tests."""

from __future__ import annotations

import numpy as np

from sora_jax.scaling.law import Law
from sora_jax.scaling.points import Points

EXPONENTS = [(0.34, 0.28), (0.31, 0.31), (0.465, 0.155), (0.35, 0.45)]


def law_of(alpha: float, beta: float, floor: float = 1.7) -> Law:
    return Law(floor, 406.0, 411.0, alpha, beta)


def ladder(
    law: Law,
    *,
    decades: float = 3,
    offset: float = 0.0,
    width: float = 1.0,
    noise: float = 0.0,
    seed: int = 0,
    seeds: int = 1,
) -> Points:
    """Half-decade budgets from 1e18 x 7 sizes over `width` decades around the optimum, moved by `offset`."""
    flops, sizes = [], []
    for c in np.logspace(18, 18 + decades, round(2 * decades) + 1):
        centre = float(law.optimum(c)[0]) * 10**offset
        sizes += [centre * 10**shift for shift in np.linspace(-width / 2, width / 2, 7) for _ in range(seeds)]
        flops += [c] * (7 * seeds)
    n = np.array(sizes)
    d = np.array(flops) / (6 * n)
    loss = law.loss(n, d) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(n)))
    return Points(np.array(flops), n, d, loss, np.full(len(n), np.nan), [f"run {i}" for i in range(len(n))])
