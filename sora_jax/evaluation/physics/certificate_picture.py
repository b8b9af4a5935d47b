"""The picture of the certificates: corruption x metric AUROC at the largest dose, and the gates below it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

GATES = ("ceiling", "monotone", "separation", "specificity", "nuisance", "nulls", "interval")
INK, FAIL, PASS = "#222222", "#c0392b", "#1e8449"


def _matrix(figure: Figure, certificates: Mapping[str, Mapping[str, Any]]) -> None:
    axes = figure.add_axes((0.14, 0.27, 0.82, 0.57))
    columns = list(certificates)
    rows = list(certificates[columns[0]]["gates"]["specificity"]["cells"])
    cells = [[certificates[c]["gates"]["specificity"]["cells"][r] for c in columns] for r in rows]
    values = np.array([[np.nan if x["auroc"] is None else x["auroc"] for x in row] for row in cells])
    axes.imshow(values, cmap="RdBu", norm=TwoSlopeNorm(0.5, 0.0, 1.0), aspect="auto", alpha=0.75)
    for i, row in enumerate(cells):
        for j, cell in enumerate(row):
            failing = rows[i] in certificates[columns[j]]["gates"]["specificity"]["failing"]
            if cell["auroc"] is None:
                axes.text(j, i, "·", ha="center", va="center", color="#999999", fontsize=8)
            else:
                weight = "bold" if cell["kind"] == "own" or failing else "normal"
                dark = abs(cell["auroc"] - 0.5) > 0.25
                muted = "#dfe6ee" if dark else "#8a8a8a"
                ink = FAIL if failing else muted if cell["kind"] == "related" else "white" if dark else INK
                text = f"{cell['auroc']:.2f}"
                axes.text(j, i, text, ha="center", va="center", fontsize=7, color=ink, weight=weight)
            if cell["kind"] == "own" or failing:
                edge = FAIL if failing else INK
                box = Rectangle((j - 0.47, i - 0.46), 0.94, 0.92, fill=False, edgecolor=edge, linewidth=1.8)
                axes.add_patch(box)
    axes.set_xticks(range(len(columns)), columns, rotation=55, ha="left", fontsize=8)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.tick_params(length=0)
    axes.set_ylabel("corruption, at its largest dose", fontsize=9)


def _gates(figure: Figure, certificates: Mapping[str, Mapping[str, Any]]) -> None:
    axes = figure.add_axes((0.14, 0.06, 0.82, 0.19))
    axes.set_xlim(-0.5, len(certificates) - 0.5)
    axes.set_ylim(len(GATES) + 0.5, -0.5)
    for j, certificate in enumerate(certificates.values()):
        for i, gate in enumerate(GATES):
            good = certificate["gates"][gate]["pass"]
            text, ink = ("pass", PASS) if good else ("FAIL", FAIL)
            axes.text(
                j,
                i,
                text,
                ha="center",
                va="center",
                fontsize=7,
                color=ink,
                weight="normal" if good else "bold",
            )
        raw = certificate["gates"]["ceiling"]["raw"]
        axes.text(j, len(GATES), f"n={raw['clips']}", ha="center", va="center", fontsize=6.5, color=INK)
    axes.set_yticks(range(len(GATES) + 1), [*GATES, "clips"], fontsize=8)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def save(certificates: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Write the picture of `certificate.certify`'s result as a png."""
    figure = Figure(figsize=(15, 11), dpi=110)
    FigureCanvasAgg(figure)
    _matrix(figure, certificates)
    _gates(figure, certificates)
    good = sum(c["certified"] for c in certificates.values())
    title = f"Which metric sees which corruption (AUROC); {good} of {len(certificates)} certified"
    figure.text(0.14, 0.965, title, fontsize=13, weight="bold", color=INK)
    note = (
        "Boxed: a metric's own failure, at least 0.95.  Pale: related by declaration, no claim.  Black: "
        "unrelated, 0.5 ± 0.1.  Red: outside its bar.  Dot: fewer than 8 clips."
    )
    figure.text(0.14, 0.025, note, fontsize=8.5, color=INK)
    figure.savefig(path)
