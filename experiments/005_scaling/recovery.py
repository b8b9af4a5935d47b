"""Does the fitter find a law that is known, and do its intervals cover it?

    OMP_NUM_THREADS=1 nice python experiments/005_scaling/recovery.py --minutes 15

Ladders of a known law: half-decade budgets x 7 sizes over 1 decade around the optimum (moved by an offset in
log10 N), one run each, relative Gaussian noise. One row of recovery.csv a (law, span, offset, noise,
estimator): the error of the exponent a, and the share of replicates whose 95 % interval of a (of E, of the
loss one decade above the ladder) holds the truth, by each kind of interval. Cells that are in the file are
not computed again. SCALING.md item 9 asks: without noise an error of at most 1e-6 (projection) and 1e-3
(parametric); coverage of 93 to 97 % over 500 replicates.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from pathlib import Path

import numpy as np

from sora_jax.scaling.bootstrap import bootstrap
from sora_jax.scaling.fit import DELTA, fit_parametric, fit_projection, refit
from sora_jax.scaling.law import Law
from sora_jax.scaling.points import Points

LAWS = ((0.34, 0.28), (0.31, 0.31), (0.465, 0.155), (0.35, 0.45))
NOISE = (0.0, 0.001, 0.003, 0.01)
SPANS = (3.0, 4.0, 2.0)  # decades of compute
OFFSETS = (0.0, 0.4)  # decades of N between the middle size and the optimum
KINDS = ("t", "percentile", "bca")
STATISTICS = ("a", "E", "loss")
FIELDS = [
    *(
        "alpha",
        "beta",
        "decades",
        "offset",
        "noise",
        "estimator",
        "replicates",
        "resamples",
        "runs",
        "error_a",
    ),
    *(f"{kind}_{statistic}" for kind in KINDS for statistic in STATISTICS),
    *("width_a", "failed", "seconds"),
]


def ladder(law: Law, decades: float, offset: float, noise: float, rng: np.random.Generator) -> Points:
    """7 sizes at each of the half-decade budgets from 1e18 FLOPs."""
    budgets = np.logspace(18, 18 + decades, round(2 * decades) + 1)
    flops = np.repeat(budgets, 7)
    size = law.optimum(flops)[0] * 10 ** (offset + np.tile(np.linspace(-0.5, 0.5, 7), len(budgets)))
    tokens = flops / (6 * size)
    loss = law.loss(size, tokens) * np.exp(noise * rng.standard_normal(len(size)))
    return Points(flops, size, tokens, loss, np.full(len(size), np.nan), [""] * len(size))


def cell(key: dict, replicates: int, resamples: int) -> dict:
    """One row of the table; a pure function of its key."""
    began = time.monotonic()
    law = Law(1.7, 406.0, 411.0, key["alpha"], key["beta"])
    above = 10 ** (19 + key["decades"])
    truth = {"a": law.a, "E": law.E, "loss": float(law.optimum(above)[2])}
    parametric = key["estimator"] == "parametric"
    fit, delta = (fit_parametric, DELTA) if parametric else (fit_projection, np.inf)
    seed = [round(1000 * value) for name, value in key.items() if name != "estimator"]
    rng = np.random.default_rng(seed)
    errors, widths, failed, hits = [], [], 0.0, {(kind, name): 0 for kind in KINDS for name in STATISTICS}
    if key["noise"] == 0:
        replicates = 1
    for _ in range(replicates):
        points = ladder(law, key["decades"], key["offset"], key["noise"], rng)
        start = fit(points).law
        errors.append(start.a - law.a)
        if key["noise"] == 0:
            constants = [start.E / law.E - 1, start.alpha - law.alpha, start.beta - law.beta]
            errors = [max([errors[0], *constants], key=abs)]
            break

        def estimate(points: Points, weights: np.ndarray, start: Law = start) -> dict[str, np.ndarray]:
            found = refit(points, start, weights, delta=delta)
            return {"a": found.a, "E": found.E, "loss": found.optimum(above)[2]}

        found = bootstrap(points, estimate, resamples=resamples, seed=int(rng.integers(2**31)))
        failed += found.failed("a") / replicates
        for (kind, name), count in hits.items():
            low, high = getattr(found, kind)(name)
            hits[kind, name] = count + bool(low <= truth[name] <= high)
        low, high = found.t("a")
        widths.append(high - low)
    row = {**key, "replicates": replicates, "resamples": resamples, "runs": len(points)}
    row["error_a"] = f"{np.sqrt(np.mean(np.square(errors))):.2e}"
    if widths:
        row |= {f"{kind}_{name}": round(count / replicates, 4) for (kind, name), count in hits.items()}
        row |= {"width_a": f"{np.mean(widths):.4f}", "failed": f"{failed:.4f}"}
    return {**row, "seconds": round(time.monotonic() - began, 1)}


def main() -> None:
    """Appends the cells that are missing, those that matter most first, until the minutes are over."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=15, help="no new cell is begun after this")
    parser.add_argument("--replicates", type=int, default=500, help="ladders a cell of the projection")
    parser.add_argument("--replicates-parametric", type=int, default=200, help="and of the parametric fit")
    parser.add_argument("--resamples", type=int, default=300, help="bootstrap draws a ladder")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("recovery.csv"))
    options = parser.parse_args()
    done = set()
    if options.out.exists():
        with options.out.open() as file:
            done = {tuple(row[name] for name in FIELDS[:6]) for row in csv.DictReader(file)}
    ends = time.monotonic() + 60 * options.minutes
    order = sorted(
        itertools.product(SPANS, OFFSETS, ("projection", "parametric"), NOISE, LAWS), key=lambda c: c[3] > 0
    )
    for decades, offset, estimator, noise, (alpha, beta) in order:
        values = (alpha, beta, decades, offset, noise, estimator)
        if tuple(map(str, values)) in done:
            continue
        if time.monotonic() > ends:
            break
        replicates = options.replicates if estimator == "projection" else options.replicates_parametric
        row = cell(dict(zip(FIELDS[:6], values, strict=True)), replicates, options.resamples)
        new = not options.out.exists()
        with options.out.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(row, flush=True)


if __name__ == "__main__":
    main()
