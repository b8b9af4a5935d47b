"""A scaling study as one self-contained page: what was fitted, how well, beside what others published."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sora_jax.scaling import figures
from sora_jax.scaling.isoflop import fit_isoflop
from sora_jax.scaling.law import Law
from sora_jax.scaling.points import Points
from sora_jax.scaling.summary import in_words
from sora_jax.scaling.words import KIND

# N_opt ~ C^a as published: study, a, and in words what of.
PUBLISHED = (
    ("Besiroglu et al. 2024, Chinchilla refitted", "0.513 (standard error 0.02)", "language"),
    ("Porian et al. 2024", "0.84 to 0.50, as the method is repaired", "language"),
    ("Liang et al. 2024", "0.568 (cross-attention: 0.54)", "image diffusion transformer, rectified flow"),
    ("Yin et al. 2024", "0.415", "video diffusion transformer"),
    ("HunyuanVideo 2024", "0.563; 0.362", "images; video on from images"),
)
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "img{max-width:100%}table{border-collapse:collapse}td,th{padding:.25em .8em;text-align:left;"
    "border-bottom:1px solid #ddd}li{margin:.2em 0}"
)


def write(
    folder: Path,
    points: Points,
    found: Mapping[str, Any],
    *,
    cost: Callable[[np.ndarray], np.ndarray],
    held_out: Sequence[Mapping[str, Any]] = (),
    title: str = "Scaling law",
) -> Path:
    """Writes `report.html` and its pictures as PNG files; returns the page's path.

    Args:
      found: of `summary.fit_all` on these points.
      cost: FLOPs per token of a number of parameters.
      held_out: see `judged`.
    """
    budgets = fit_isoflop(points)
    laws = {
        name: Law(**found["fits"][name]["law"])
        for name in ("projection", "parametric")
        if "law" in found["fits"][name]
    }
    last = max([points.flops.max(), *(row["C"] for row in held_out)])
    sizes, losses = figures.curves(laws, (float(points.flops.min()), float(last)), cost)
    floor = found["fits"]["projection"]["value"]["E"] if "projection" in laws else None
    pictures = {
        "isoflops": figures.isoflops(points, budgets),
        "optima": figures.optima(found, budgets, sizes),
        "loss": figures.least_loss(points, budgets, losses, floor, held_out),
    }
    if "projection" in laws:
        pictures["residuals"] = figures.residuals(points, laws["projection"])
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for name, figure in pictures.items():
        data = io.BytesIO()
        figure.savefig(data, format="png")
        (folder / f"{name}.png").write_bytes(data.getvalue())
        text = base64.b64encode(data.getvalue()).decode()
        parts.append(f'<p><img alt="{name}" src="data:image/png;base64,{text}"></p>')
    words = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in in_words(dict(found)))
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1><ul>{words}</ul>{parts[0]}{parts[1]}"
        f"<h2>Exponents</h2>{table(exponents(found))}<h2>Loss</h2>{''.join(parts[2:])}"
    )
    if held_out:
        page += f"<h2>Held out</h2>{table(verdicts(held_out))}"
    path = folder / "report.html"
    path.write_text(page + "</html>\n")
    return path


def exponents(found: Mapping[str, Any]) -> list[list[str]]:
    """Rows of study, a with its interval, of what; ours first. The first row is the head."""
    rows = [["study", "a, of N ~ C^a", "of"]]
    for name, fit in found["fits"].items():
        if "error" in fit:
            rows.append([f"here, {name}", "none", fit["error"]])
            continue
        exponent = "a_effective" if "a_effective" in fit["value"] else "a"
        value, (low, high) = fit["value"][exponent], fit["intervals"][exponent]["95%"][KIND]
        says = "none" if value is None else f"{value:.3f}"
        if low is not None:
            says += f" (95 %: {low:.3f} to {high:.3f})"
        rows.append([f"here, {name}", says, "these runs"])
    return rows + [list(row) for row in PUBLISHED]


def judged(
    prediction: Mapping[str, Any], points: Points, *, estimator: str = "projection"
) -> list[dict[str, Any]]:
    """The predictions beside what was measured at their budgets, the best run of each.

    Each: C, loss, low, high (80 %), E; measured (None where nothing was run); `error`, |dL| / (L - E);
    `inside`, the 80 % interval.
    """
    rows = []
    for one in prediction["held_out"]:
        loss, floor = one["loss"][estimator], prediction["law"]["E"]
        near = np.abs(np.log(points.flops / one["C"])) < 0.1
        measured = float(points.loss[near].min()) if near.any() else None
        row = {"C": one["C"], "loss": loss["value"], "low": loss["80%"][0], "high": loss["80%"][1]}
        row |= {"E": floor, "measured": measured, "error": None, "inside": None}
        if measured is not None:
            row["error"] = abs(measured - row["loss"]) / (measured - floor)
            row["inside"] = bool(row["low"] <= measured <= row["high"])
        rows.append(row)
    return rows


def verdicts(held_out: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows of budget, prediction, interval, result and |dL| / (L - E); the first row is the head."""
    rows = [["FLOPs", "predicted", "80 % interval", "measured", "|dL| / (L - E)", "inside"]]
    for row in held_out:
        result = ["not run yet", "", ""]
        if row["measured"] is not None:
            result = [f"{row['measured']:.4f}", f"{row['error']:.1%}", "yes" if row["inside"] else "no"]
        interval = f"{row['low']:.4f} to {row['high']:.4f}"
        rows.append([f"{row['C']:.3g}", f"{row['loss']:.4f}", interval, *result])
    return rows


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as HTML, the first as the head."""
    lines = []
    for number, row in enumerate(rows):
        cell = "td" if number else "th"
        lines.append("<tr>" + "".join(f"<{cell}>{html.escape(str(x))}</{cell}>" for x in row) + "</tr>")
    return f"<table>{''.join(lines)}</table>"
