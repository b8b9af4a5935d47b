"""The certificate of each metric: what it sees, what it does not, and the gates that it passes or fails.

Gates (the specification's seven points, over held-out rollouts):
  ceiling      mean score of the truth >= 0.98, raw and through mp4; the autoencoder's is published apart
  monotone     Spearman's rank correlation of dose and mean score <= -0.95, of each own corruption
  separation   AUROC of truth against corrupted >= 0.95 at the smallest visible dose, of each own corruption
  specificity  at the largest dose: own cells >= 0.95, cells unrelated by declaration 0.5 +- 0.1
  nuisance     mean score of the truth changes by <= 0.02 under each
  nulls        noise scores <= 0.1; frozen, linear and shuffled are reported beside the ceiling
  interval     95 % bootstrap interval over scenes of the ceiling is at most 0.02 wide on either side
AUROC = P(clean > corrupted + TIE) + P(|clean - corrupted| <= TIE) / 2 over pairs of clips: scores are read to
two decimals, and a difference below half of the last is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import spearmanr

from sora_jax import rng as rng_lib
from sora_jax.evaluation.physics import certificate_picture
from sora_jax.evaluation.physics.corruptions import CORRUPTIONS, Corruption, related
from sora_jax.evaluation.physics.corruptions_bench import EVERY_CORRUPTION
from sora_jax.evaluation.physics.suite import METRICS, MOVING, Judged, Metric, Violation
from sora_jax.evaluation.physics.suite_bench import BENCH, EVERY_METRIC
from sora_jax.evaluation.physics.sweep import Say, Sweep, make_scenes, objects, sweep
from sora_jax.models.frozen_autoencoder import FrozenAutoencoder

CEILING, RANK, SEPARATION = 0.98, -0.95, 0.95
UNRELATED, NUISANCE, NOISE, WIDTH = 0.1, 0.02, 0.1, 0.02
TIE = 0.005  # scores nearer than this are equal
LEAST_CLIPS = 8  # fewer say nothing
SPECIFIED = {"ceiling": 500, "dose": 200}  # clips that the specification asks of a full certificate
RESAMPLES = 200
FAMILIES = (*MOVING, *BENCH)


def auroc(clean: Float[np.ndarray, " n"], corrupted: Float[np.ndarray, " k"]) -> float:
    """How often a clean clip scores above a corrupted one; ties within `TIE` count half."""
    gap = clean[:, None] - corrupted
    return float((gap > TIE).mean() + 0.5 * (np.abs(gap) <= TIE).mean())


def _interval(values: list[float]) -> list[float]:
    return [float(v) for v in np.percentile(values, (2.5, 97.5))]


def _mean(values: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Mean over the clips that the metric applies to, its bootstrap interval, and their number."""
    kept = values[~np.isnan(values)]
    if not len(kept):
        return {"mean": None, "interval": None, "clips": 0}
    draws = [float(rng.choice(kept, len(kept)).mean()) for _ in range(RESAMPLES)]
    return {"mean": float(kept.mean()), "interval": _interval(draws), "clips": len(kept)}


def _pair(found: Sweep, name: str, m: int, dose: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of metric `m` on the same clips, clean and corrupted."""
    clean, corrupted = found.raw[:, m], found.corrupted[name][dose, :, m]
    both = ~np.isnan(clean) & ~np.isnan(corrupted)
    return clean[both], corrupted[both]


def _separation(found: Sweep, name: str, m: int, dose: int, rng: np.random.Generator) -> dict[str, Any]:
    clean, corrupted = _pair(found, name, m, dose)
    if len(clean) < LEAST_CLIPS:
        return {"auroc": None, "interval": None, "clips": len(clean)}
    picks = [rng.integers(0, len(clean), len(clean)) for _ in range(RESAMPLES)]
    return {
        "auroc": auroc(clean, corrupted),
        "interval": _interval([auroc(clean[k], corrupted[k]) for k in picks]),
        "clips": len(clean),
    }


def _ceiling(found: Sweep, m: int, rng: np.random.Generator) -> dict[str, Any]:
    gate = {"raw": _mean(found.raw[:, m], rng), "mp4": _mean(found.mp4[:, m], rng)}
    passed = all(g["mean"] is not None and g["mean"] >= CEILING for g in gate.values())
    if found.autoencoder is not None:
        gate["autoencoder"] = _mean(found.autoencoder[:, m], rng)
    return {"pass": passed, **gate}


def _rank_correlation(doses: list[float], means: list[float]) -> float:
    """Spearman's; 0 where the means are all the same."""
    return float(spearmanr(doses, means)[0]) if len(set(means)) > 1 else 0.0  # pyright: ignore


def _monotone(found: Sweep, m: int, own: Sequence[Violation]) -> dict[str, Any]:
    series = {}
    for corruption in own:
        pairs = [_pair(found, corruption.name, m, d) for d in range(len(corruption.doses))]
        if len(pairs[0][0]) < LEAST_CLIPS:
            series[corruption.name] = {"spearman": None, "clips": len(pairs[0][0])}
            continue
        means = [float(pairs[0][0].mean()), *(float(worn.mean()) for _, worn in pairs)]
        ranks = _rank_correlation([0.0, *corruption.doses], means)
        series[corruption.name] = {
            "doses": [0.0, *corruption.doses],
            "unit": corruption.unit,
            "means": means,
            "spearman": ranks,
            "clips": len(pairs[0][0]),
        }
    good = [s["spearman"] is not None and s["spearman"] <= RANK for s in series.values()]
    return {"pass": bool(good) and all(good), "series": series}


def _separations(found: Sweep, m: int, own: Sequence[Violation], rng: np.random.Generator) -> dict[str, Any]:
    cells = {c.name: {"dose": c.doses[0], **_separation(found, c.name, m, 0, rng)} for c in own}
    good = [c["auroc"] is not None and c["auroc"] >= SEPARATION for c in cells.values()]
    return {"pass": bool(good) and all(good), "cells": cells}


def _specificity(
    found: Sweep, metric: Judged, m: int, corruptions: Sequence[Violation], rng: np.random.Generator
) -> dict[str, Any]:
    """The metric's column of the matrix, at the largest dose of each corruption."""
    cells, failing = {}, []
    for corruption in corruptions:
        why = related(metric, corruption)
        cell = _separation(found, corruption.name, m, len(corruption.doses) - 1, rng)
        own = metric.failure in corruption.failures
        cells[corruption.name] = {"kind": "own" if own else "related" if why else "unrelated", **cell}
        if why and not own:
            cells[corruption.name]["reason"] = why
        value = cell["auroc"]
        if own and (value is None or value < SEPARATION):
            failing.append(corruption.name)
        if why is None and value is not None and abs(value - 0.5) > UNRELATED:
            failing.append(corruption.name)
    return {"pass": not failing, "failing": failing, "cells": cells}


def _nuisance(found: Sweep, m: int) -> dict[str, Any]:
    changes = {}
    for name, table in found.nuisance.items():
        both = ~np.isnan(found.raw[:, m]) & ~np.isnan(table[:, m])
        changes[name] = float((table[both, m] - found.raw[both, m]).mean()) if both.any() else None
    return {"pass": all(v is not None and abs(v) <= NUISANCE for v in changes.values()), "change": changes}


def _nulls(found: Sweep, m: int, rng: np.random.Generator) -> dict[str, Any]:
    means = {name: _mean(table[:, m], rng)["mean"] for name, table in found.null.items()}
    return {"pass": means["noise"] is not None and means["noise"] <= NOISE, "mean": means}


def _certificate(
    found: Sweep, metric: Judged, m: int, corruptions: Sequence[Violation], *, seed: int
) -> dict[str, Any]:
    rng = rng_lib.host(seed, "bootstrap", metric.name)
    own = [c for c in corruptions if metric.failure in c.failures]
    gates = {
        "ceiling": _ceiling(found, m, rng),
        "monotone": _monotone(found, m, own),
        "separation": _separations(found, m, own, rng),
        "specificity": _specificity(found, metric, m, corruptions, rng),
        "nuisance": _nuisance(found, m),
        "nulls": _nulls(found, m, rng),
    }
    raw = gates["ceiling"]["raw"]
    wide = None if raw["mean"] is None else max(abs(raw["mean"] - end) for end in raw["interval"])
    gates["interval"] = {"pass": wide is not None and wide <= WIDTH, "half_width": wide}
    failing = [name for name, gate in gates.items() if not gate["pass"]]
    series = gates["monotone"]["series"].values()
    counts = {"ceiling": raw["clips"], "dose": min((s["clips"] for s in series), default=0)}
    return {
        "metric": metric.name,
        "failure": metric.failure,
        "families": list(metric.families),
        "reads": sorted(metric.reads),
        "certified": not failing,
        "failing": failing,
        "clips": counts,
        "full_scale": all(counts[k] >= SPECIFIED[k] for k in counts),
        "gates": gates,
    }


def certify(
    metrics: Sequence[Metric] = METRICS,
    corruptions: Sequence[Corruption] = CORRUPTIONS,
    *,
    clips: int,
    seed: int,
    frames: int = 17,
    side: int = 128,
    families: Sequence[str] = MOVING,
    autoencoder: FrozenAutoencoder | None = None,
    nuisances: bool = True,
    say: Say = lambda line: None,
) -> dict[str, dict[str, Any]]:
    """Certificates by metric, plain data that JSON can hold.

    Args:
      clips: per family; frames, side: of each clip. Without `nuisances` that gate passes empty.
    """
    scenes = make_scenes(clips=clips, seed=seed, frames=frames, side=side, families=families, metrics=metrics)
    found = sweep(
        objects(metrics),
        scenes,
        corruptions=corruptions,
        seed=seed,
        autoencoder=autoencoder,
        nuisances=nuisances,
        say=say,
    )
    return judge(found, metrics, corruptions, seed=seed)


def judge(
    found: Sweep, metrics: Sequence[Judged], corruptions: Sequence[Violation], *, seed: int
) -> dict[str, dict[str, Any]]:
    """Certificates by metric, in the order of the sweep's metric axis; `seed` is the bootstrap's."""
    return {
        metric.name: _certificate(found, metric, m, corruptions, seed=seed)
        for m, metric in enumerate(metrics)
    }


def write(
    certificates: Mapping[str, Mapping[str, Any]],
    out: Path,
    *,
    settings: Mapping[str, Any],
    picture: str = "matrix.png",
    say: Say = print,
) -> None:
    """A JSON per metric and the `picture` of all, in the folder `out`."""
    for name, certificate in certificates.items():
        path = out / f"{name.replace(' ', '_')}.json"
        text = json.dumps({"settings": settings, **certificate}, indent=1, allow_nan=False)
        path.write_text(text + "\n")
        verdict = "certified" if certificate["certified"] else f"fails {', '.join(certificate['failing'])}"
        say(f"{name}: {verdict}")
    certificate_picture.save(certificates, out / picture)


def run(
    out: Path,
    clips: int,
    *,
    seed: int = 2028,
    frames: int = 17,
    side: int = 128,
    families: Sequence[str] = FAMILIES,
    autoencoder: FrozenAutoencoder | None = None,
    say: Say = print,
) -> dict[str, dict[str, Any]]:
    """`certify` over the tables' lines for `families`, written to `out`: a JSON per metric and `matrix.png`.

    Args:
      clips: per family; about 3 s of one core each for 17 frames of 64 x 64, and of the benchmark's own
        families, which are longer, more.
      families: of worlds, among `FAMILIES`.

    Raises:
      ValueError: a family that is not among them.
    """
    if unknown := set(families) - set(FAMILIES):
        raise ValueError(f"families {sorted(unknown)} are not among {', '.join(FAMILIES)}")
    out.mkdir(parents=True, exist_ok=True)
    found = certify(
        [metric for metric in EVERY_METRIC if set(metric.families) & set(families)],
        [corruption for corruption in EVERY_CORRUPTION if set(corruption.families) & set(families)],
        clips=clips,
        seed=seed,
        frames=frames,
        side=side,
        families=families,
        autoencoder=autoencoder,
        say=say,
    )
    settings = {"clips_per_family": clips, "seed": seed, "frames": frames, "side": side}
    write(found, out, settings=settings, say=say)
    return found
