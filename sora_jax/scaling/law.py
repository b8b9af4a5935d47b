"""The law L(N, D) = E + A / N^alpha + B / D^beta, and the model a budget is best spent on.

For C = k N D the least loss lies at (Hoffmann et al. 2022, arXiv 2203.15556, Eq. 4)

    N = G (C / k)^a,  D = (C / k)^b / G,  G = (alpha A / (beta B))^(1 / (alpha + beta)),
    a = beta / (alpha + beta),  b = alpha / (alpha + beta).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

SIZES = (1e1, 1e15)  # parameters between which an optimum is looked for


@dataclasses.dataclass(frozen=True)
class Law:
    """The five constants: numbers, or arrays of one shape [...] for many laws at once (bootstrap replicates).

    Attributes:
      E: the loss that no size and no data takes away; A, B: in units of the loss; alpha, beta: exponents.
    """

    E: float | np.ndarray
    A: float | np.ndarray
    B: float | np.ndarray
    alpha: float | np.ndarray
    beta: float | np.ndarray

    @property
    def a(self) -> float | np.ndarray:
        """The exponent of N_opt ~ C^a, for C = k N D."""
        return self.beta / (self.alpha + self.beta)

    @property
    def b(self) -> float | np.ndarray:
        """The exponent of D_opt ~ C^b, for C = k N D."""
        return self.alpha / (self.alpha + self.beta)

    def loss(self, parameters: np.ndarray | float, tokens: np.ndarray | float) -> np.ndarray:
        """L(N, D), broadcast with the constants."""
        return self.E + self.A * np.power(parameters, -self.alpha) + self.B * np.power(tokens, -self.beta)

    def optimum(self, flops: float, k: float = 6.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N, D, L) of the least loss at C = k N D, in closed form."""
        ratio = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        parameters, tokens = ratio * (flops / k) ** self.a, (flops / k) ** self.b / ratio
        return parameters, tokens, self.loss(parameters, tokens)

    def optimum_on(
        self, flops: float, flops_per_token: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N, D, L) of the least L(N, C / c(N)), where a token costs c(N) FLOPs to train on, not 6 N.

        A grid over log N, made 32 times finer around its best point until N is known to 1e-6: below that a
        loss in float64 does not change.

        Args:
          flops_per_token: c of an array of N, elementwise.

        Raises:
          ValueError: of one law, where the minimum lies at an edge of SIZES. Of many, that entry is NaN.
        """
        constants = [np.asarray(value, float)[..., None] for value in dataclasses.astuple(self)]
        law = Law(*constants)
        low, high = (np.full(np.shape(self.alpha), np.log(size)) for size in SIZES)
        edge = np.zeros(np.shape(self.alpha), bool)
        for level in range(5):
            grid = np.linspace(low, high, 65, axis=-1)
            sizes = np.exp(grid)
            best = law.loss(sizes, flops / flops_per_token(sizes)).argmin(axis=-1)
            if level == 0:
                edge = (best == 0) | (best == 64)
            ends = [np.clip(best + side, 0, 64) for side in (-1, 1)]
            low, high = (np.take_along_axis(grid, end[..., None], -1)[..., 0] for end in ends)
        if edge.ndim == 0 and edge:
            raise ValueError(
                f"at {flops:.3g} FLOPs the least loss lies at an edge of {SIZES[0]:g} to {SIZES[1]:g} "
                "parameters: check that flops_per_token grows with N outside the trained sizes too"
            )
        parameters = np.where(edge, np.nan, np.exp((low + high) / 2))
        tokens = flops / flops_per_token(parameters)
        return parameters, tokens, self.loss(parameters, tokens)
