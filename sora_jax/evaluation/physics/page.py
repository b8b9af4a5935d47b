"""The physics scores as one self-contained HTML page, for a person who has not read the paper."""

from __future__ import annotations

import base64
import dataclasses
import html
import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from sora_jax.evaluation import report
from sora_jax.evaluation.physics.suite_bench import EVERY_METRIC
from sora_jax.evaluation.text_alignment import Score

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top }
th:first-child, td:first-child { text-align: left }
td small { color: #777; display: block }
td.sample { font-weight: 600 }
.uncertified { color: #a33 }
figure { margin: 1rem 0 } figcaption { color: #555 } img { max-width: 100%; image-rendering: pixelated }
"""
MEANING = {
    "truth": "the simulated clip itself: the best the parser can report",
    "reconstruction": "the simulated clip through the model's autoencoder: the best the model could do",
    "sample": "the videos that are judged",
    "best-of-k": "the best of a clip's samples, metric by metric: what could be picked, not what is got",
    "repeated truth": "null: the clip itself as every sample: right, and without spread",
    "frozen": "null: the last given frame held still",
    "linear": "null: every object goes on as it began",
    "noise": "null: random pixels",
    "shuffled": "null: the videos judged against another clip of their family",
    "shuffled best-of-k": "null of best-of-k: the best of a clip's samples, judged against another clip",
    "nearest": "null: the training clip that is nearest to the truth, as if it had been looked up",
}
_ENERGY = (
    "How far the end states of a clip's samples lie from those that were possible, in world units (the "
    "frame's short side is 10), lower is better: twice the mean distance to a true end, less the samples' "
    "own mean distance from each other, less the true ends'. "
)
SPREAD = {
    0: _ENERGY
    + "The text leaves start and speed open: possible are other clips that satisfy the same prompt, "
    "and 0 is a model that spreads as they do.",
    1: _ENERGY + "One given frame leaves the speed open and the truth is one draw of what was possible: the "
    "lowest is best, and the lowest is not 0.",
    **dict.fromkeys(
        (3, 5),
        _ENERGY + "The given frames settle the motion: possible is one end state, and 0 is to reach it each "
        "time (by a model that uses all of them).",
    ),
}
COPYING = (
    "The distance of a sample to its nearest training clip over that of the true clip to its own: near 0 it "
    "is copied; one drawn as the truth is has a ratio below 1 half of the time. Pixels averaged down to 8 on "
    "the shorter side, frame by frame."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """A clip that the page shows: its truth above the answer (None: there was none to show)."""

    title: str
    note: str
    truth: UInt8[np.ndarray, "f h w 3"]
    video: UInt8[np.ndarray, "f h w 3"] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """Rows that are no score of 0 to 1: in one line, in words, and as name -> column -> number."""

    title: str
    said: str
    text: str
    table: Mapping[str, Mapping[str, Score]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """What is on the page.

    Attributes:
      title, settings: what was judged and how, settings as name -> value.
      table: metric -> column -> score, of certified metrics.
      uncertified: metric -> the gate that its certificate fails; not shown as scores.
      worst, median: clips.
      faults: a line for each answer that could not be judged, and for each file that nothing asks for.
      matrix: PNG of the certificates' corruption x metric matrix, or None.
      sections: below the table of scores.
    """

    title: str
    settings: Mapping[str, object]
    table: Mapping[str, Mapping[str, Score]]
    uncertified: Mapping[str, str]
    worst: Sequence[Shown]
    median: Sequence[Shown]
    faults: Sequence[str]
    matrix: bytes | None = None
    sections: Sequence[Section] = ()


def render(page: Page) -> str:
    """The page's HTML; pictures are inside it."""
    parts = [
        f"<h1>{html.escape(page.title)}</h1>",
        "<p>Each row is one way in which a video can break physics, scored from 0 (broken in every "
        "clip) to 1 (never seen to break), read from the pixels alone. Below a mean stands its 95 % "
        "bootstrap interval over clips. A score means something only between its floor (truth) and its "
        "nulls.</p>",
        _settings(page.settings),
        _table(page.table),
        _meanings(_columns(page.table)),
        *map(_section, page.sections),
    ]
    if page.uncertified:
        lines = "".join(
            f"<li>{html.escape(name)}: {html.escape(why)}</li>" for name, why in page.uncertified.items()
        )
        parts.append(f"<h2>Not shown: metrics without a certificate</h2><ul class=uncertified>{lines}</ul>")
    faults = "".join(f"<li>{html.escape(line)}</li>" for line in page.faults)
    parts.append(
        f"<h2>Answers that could not be judged</h2>{f'<ul>{faults}</ul>' if faults else '<p>None.</p>'}"
    )
    for title, clips in (("Worst clips", page.worst), ("Median clips", page.median)):
        parts.append(f"<h2>{title}</h2>" + "".join(map(_figure, clips)))
    if page.matrix is not None:
        parts.append(
            "<h2>What each metric sees</h2><p>How well each metric (column) tells clips with one planted "
            "fault (row) from clips without: 1 always, 0.5 not at all.</p>"
            f"<img src='data:image/png;base64,{base64.b64encode(page.matrix).decode()}' alt='certificates'>"
        )
    body = "\n".join(parts)
    title = html.escape(page.title)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<style>{STYLE}</style><body>{body}</body></html>\n"
    )


def _settings(settings: Mapping[str, object]) -> str:
    return "<p>" + "; ".join(f"{html.escape(k)} {html.escape(str(v))}" for k, v in settings.items()) + "</p>"


def _columns(table: Mapping[str, Mapping[str, Score]]) -> list[str]:
    found = {column for scores in table.values() for column in scores}
    return [c for c in MEANING if c in found] + sorted(found - set(MEANING))


def _table(table: Mapping[str, Mapping[str, Score]]) -> str:
    columns = _columns(table)
    head = "".join(f"<th>{html.escape(c)}</th>" for c in columns)
    failures = {metric.name: metric.failure for metric in EVERY_METRIC}
    rows = []
    for name, scores in table.items():
        cells = "".join(f"<td class='{html.escape(c)}'>{_cell(scores.get(c))}</td>" for c in columns)
        failure = html.escape(failures.get(name, ""))
        rows.append(f"<tr><td>{html.escape(name)}<small>{failure}</small></td>{cells}</tr>")
    return f"<table><tr><th>metric</th>{head}</tr>{''.join(rows)}</table>"


def _cell(score: Score | None) -> str:
    if score is None or math.isnan(score.mean):
        return "-"
    return f"{score.mean:.3f}<small>{score.low:.2f} to {score.high:.2f}, {score.clips} clips</small>"


def _meanings(columns: Sequence[str]) -> str:
    lines = "".join(f"<li><b>{html.escape(c)}</b>: {html.escape(MEANING.get(c, ''))}</li>" for c in columns)
    return f"<ul>{lines}</ul>"


def _section(section: Section) -> str:
    said = "".join(f"<p>{html.escape(words)}</p>" for words in (section.said, section.text))
    columns = [c for c in _columns(section.table) if c == "repeated truth"]  # the others are told above
    table = _table(section.table) + (_meanings(columns) if columns else "") if section.table else ""
    return f"<h2>{html.escape(section.title)}</h2>{said}{table}"


def _figure(shown: Shown) -> str:
    strips = [report.strip(shown.truth, side=96)]
    if shown.video is not None:
        strips.append(report.strip(shown.video, side=96))
    width = max(s.shape[1] for s in strips)
    padded = [np.pad(s, ((0, 4), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    picture = cv2.cvtColor(np.concatenate(padded), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png", picture)
    if not done:
        raise OSError(f"could not encode a strip of {picture.shape} as PNG")
    source = base64.b64encode(data.tobytes()).decode()
    caption = f"<b>{html.escape(shown.title)}</b> {html.escape(shown.note)}"
    below = "truth above, answer below" if shown.video is not None else "truth; there is no answer"
    image = f"<img src='data:image/png;base64,{source}' alt='{below}'>"
    return f"<figure>{image}<figcaption>{caption} ({below})</figcaption></figure>"
