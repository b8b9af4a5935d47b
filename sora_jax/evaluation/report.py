"""What a person looks at: contact sheets of samples, and tables of scores beside floors and nulls."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from sora_jax.evaluation.text_alignment import RATES, Score

FONT, THICK = cv2.FONT_HERSHEY_SIMPLEX, 1
INK, PAPER = 30, 255
LOWER_IS_BETTER = ("velocity_error", "position_error", "unsteadiness", *RATES)


def strip(
    video: UInt8[np.ndarray, "f h w 3"], *, frames: int = 8, side: int = 128, gap: int = 2
) -> UInt8[np.ndarray, "sh sw 3"]:
    """Frames evenly spaced in time, first and last included, left to right, `side` pixels high.

    A clip of fewer frames shows each of them once.
    """
    shown = np.unique(np.linspace(0, len(video) - 1, min(frames, len(video))).round().astype(int))
    height, width = video.shape[1:3]
    size = (max(1, round(width * side / height)), side)
    how = cv2.INTER_NEAREST if side >= 2 * height else cv2.INTER_AREA if side < height else cv2.INTER_CUBIC
    pieces = []
    for f in shown:
        pieces += [
            cv2.resize(video[f], size, interpolation=how),
            np.full((side, gap, 3), PAPER, np.uint8),
        ]
    return np.concatenate(pieces[:-1], axis=1)


def _text_width(text: str, scale: float) -> int:
    return cv2.getTextSize(text, FONT, scale, THICK)[0][0]


def wrap(text: str, *, width: int, scale: float) -> list[str]:
    """Lines of whole words at most `width` pixels wide (a longer word has a line of its own)."""
    lines: list[str] = []
    for word in text.split():
        if lines and _text_width(f"{lines[-1]} {word}", scale) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


def _caption(lines: Sequence[tuple[str, int]], *, width: int, scale: float) -> np.ndarray:
    """Lines of (text, grey level) on paper."""
    step = round(28 * scale) + 4
    paper = np.full((step * len(lines) + 6, width, 3), PAPER, np.uint8)
    for k, (line, grey) in enumerate(lines):
        at = (2, step * (k + 1) - 5)
        cv2.putText(paper, line, at, FONT, scale, (grey, grey, grey), THICK, cv2.LINE_AA)
    return paper


def contact_sheet(
    videos: Sequence[UInt8[np.ndarray, "f h w 3"]],
    prompts: Sequence[str],
    *,
    notes: Sequence[str] | None = None,
    frames: int = 8,
    side: int = 128,
    columns: int = 1,
    scale: float = 0.45,
) -> UInt8[np.ndarray, "sheet_h sheet_w 3"]:
    """A page of clips: each a strip of frames sampled in time, with its prompt and its note under it.

    Args:
      videos: of any sizes and lengths; prompts: one each; notes: one each, in grey.
      frames: of a strip, at most; side: its height in pixels; columns: of strips on the page; scale: of the
      text.
    """
    if len(videos) != len(prompts) or (notes is not None and len(notes) != len(videos)):
        raise ValueError(f"{len(videos)} videos need as many prompts ({len(prompts)}) and notes, if any")
    if not videos:
        raise ValueError("a contact sheet of no videos")
    strips = [strip(v, frames=frames, side=side) for v in videos]
    width = max(240, *(s.shape[1] for s in strips))
    cells = []
    for k, picture in enumerate(strips):
        framed = cv2.copyMakeBorder(picture, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(200, 200, 200))
        lines = [(line, INK) for line in wrap(prompts[k], width=width - 8, scale=scale)]
        if notes is not None:
            lines += [(line, 120) for line in wrap(notes[k], width=width - 8, scale=scale)]
        cells.append(_stack([framed, _caption(lines, width=width, scale=scale)]))
    rows = []
    for start in range(0, len(cells), columns):
        row = cells[start : start + columns]
        high = max(c.shape[0] for c in row)
        rows.append(np.concatenate([_pad(c, high, width + 14) for c in row], axis=1))
    return _pad(_stack(rows), None, None, margin=8)


def _pad(image: np.ndarray, height: int | None, width: int | None, *, margin: int = 0) -> np.ndarray:
    down = (height or image.shape[0]) - image.shape[0]
    right = (width or image.shape[1]) - image.shape[1]
    edges = ((margin, margin + down), (margin, margin + right), (0, 0))
    return np.pad(image, edges, constant_values=PAPER)


def _stack(images: Sequence[np.ndarray]) -> np.ndarray:
    width = max(i.shape[1] for i in images)
    return np.concatenate([_pad(i, None, width) for i in images], axis=0)


def note(scores: Mapping[str, float]) -> str:
    """One line of a clip's scores, those that the prompt states: "count 1  color 0.5"."""
    return "  ".join(f"{name} {value:.3g}" for name, value in scores.items() if not math.isnan(value))


def save_png(path: str | Path, image: UInt8[np.ndarray, "h w 3"]) -> Path:
    """Write an RGB image; the folder is made. Raises OSError if it cannot be written."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError(f"could not encode {image.shape} as PNG for {path}")
    path.write_bytes(data.tobytes())
    return path


# Column of the table ("samples", "truth", "reconstruction", "shuffled captions", ...) -> split -> metric ->
# Score.
Columns = Mapping[str, Mapping[str, Mapping[str, Score]]]


def score_table(columns: Columns, *, split: str = "all", metrics: Sequence[str] | None = None) -> str:
    """A Markdown table, a metric per row, a set of clips per column, "mean [low, high] (clips)".

    Errors and rates, where lower is better, are marked with an arrow. What a column does not have is a dash.
    """
    known: dict[str, None] = {}
    for reports in columns.values():
        known |= dict.fromkeys(reports.get(split, {}))
    lines = ["| metric | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name in metrics or known:
        arrow = " ↓" if name in LOWER_IS_BETTER else ""
        cells = [_cell(reports.get(split, {}).get(name)) for reports in columns.values()]
        lines.append(f"| {name}{arrow} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(score: Score | None) -> str:
    if score is None or math.isnan(score.mean):
        return "-"
    return f"{score.mean:.3f} [{score.low:.3f}, {score.high:.3f}] ({score.clips})"


def write_report(folder: str | Path, columns: Columns, *, name: str = "scores") -> tuple[Path, Path]:
    """`<name>.md` with one table per split, and `<name>.json` with the same numbers; the folder is made."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    order: dict[str, None] = {}
    for reports in columns.values():
        order |= dict.fromkeys(reports)
    text = "\n".join(f"## {split}\n\n{score_table(columns, split=split)}" for split in order)
    numbers = {
        column: {
            split: {metric: score._asdict() for metric, score in scores.items()}
            for split, scores in reports.items()
        }
        for column, reports in columns.items()
    }
    pages = folder / f"{name}.md", folder / f"{name}.json"
    pages[0].write_text(text)
    pages[1].write_text(json.dumps(numbers, indent=1) + "\n")
    return pages
