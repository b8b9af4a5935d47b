"""What `evaluate physics` writes: scores.json, report.html, and a table on the terminal."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sora_jax.evaluate import copying
from sora_jax.evaluate.copying import Found
from sora_jax.evaluation import answers, benchmark, nearest
from sora_jax.evaluation.physics import certificates, outcomes, page, protocol
from sora_jax.evaluation.physics.protocol import Row
from sora_jax.evaluation.text_alignment import Score

SHOWN = 6  # clips of each kind on the page


def write(
    options: argparse.Namespace,
    rows: Sequence[Row],
    folder: Path,
    stray: Sequence[str],
    found: Mapping[str, Found],
) -> None:
    """Writes both files and prints the scores.

    Args:
      options: of the command.
      rows: one per line of the manifest; folder: of the videos.
      stray: videos that nothing asks for.
      found: item id -> its nearest training clip, if that was asked for.
    """
    table = protocol.summarise(rows)
    failing = certificates.failing()
    certified = {name: scores for name, scores in table.items() if name not in failing}
    faults = [fault for row in rows for fault in _faults(row)]
    faults += [f"{name} is asked for by no line of the manifest" for name in stray]
    judged = options.checkpoint or str(options.videos)
    settings = {"judged": judged, "clips": len(rows), "given frames": options.given}
    if options.untold:
        settings["prompt"] = "empty"
    if options.samples > 1:
        settings["samples of each clip"] = options.samples
    spread = outcomes.summarise([row.spread for row in rows])
    worst, median = _shown(rows, folder, options.samples)
    shown = page.Page(
        title=f"SoraBench: {judged}",
        settings=settings,
        table=certified,
        uncertified={name: why for name, why in failing.items() if name in table},
        worst=worst,
        median=median,
        faults=faults,
        matrix=certificates.picture(),
        sections=_sections(rows, spread, found, options),
    )
    (options.out / "report.html").write_text(page.render(shown))
    result = {
        "settings": settings,
        "scores": _plain(certified),
        "uncertified": failing,
        "faults": faults,
        "clips": [_record(row, found) for row in rows],
    }
    if options.samples > 1:
        result["spread"] = {"unit": "world units", "compared": _compared(rows), "scores": _plain(spread)}
    if found:
        result["copying"] = copying.summary(found, clips=options.training)
    (options.out / "scores.json").write_text(json.dumps(result, indent=1) + "\n")
    print(_summary(certified))
    for section in shown.sections:
        print(f"{section.title}: {section.said}")
    if faults:
        print(f"{len(faults)} answers could not be judged or were not asked for: see the report")
    print(f"wrote {options.out}/report.html and scores.json")


def _faults(row: Row) -> list[str]:
    """A line for each sample that could not be judged, or for the line that is no item."""
    if row.item is None:
        return [row.fault] if row.fault is not None else []
    return [sample.fault for sample in row.samples if sample.fault is not None]


def _plain(table: Mapping[str, Mapping[str, Score]]) -> dict[str, dict[str, dict[str, float]]]:
    return {
        name: {column: score._asdict() for column, score in columns.items()}
        for name, columns in table.items()
    }


def _record(row: Row, found: Mapping[str, Found]) -> dict[str, object]:
    """One clip in scores.json."""
    record: dict[str, object] = {
        "id": row.item.id if row.item else None,
        "fault": row.fault,
        "scores": row.scores.get("sample", {}),
    }
    if len(row.samples) > 1:
        record["samples"] = [sample._asdict() for sample in row.samples]
    if row.spread:
        record["spread"] = {column: spread._asdict() for column, spread in row.spread.items()}
    if row.item is not None and row.item.id in found:
        one = found[row.item.id]
        record["nearest"] = {"clip": one.clip, "distance": one.distance, "ratios": list(one.ratios)}
    return record


def _compared(rows: Sequence[Row]) -> int:
    return sum(bool(row.spread) for row in rows)


def _sections(
    rows: Sequence[Row],
    spread: Mapping[str, Mapping[str, Score]],
    found: Mapping[str, Found],
    options: argparse.Namespace,
) -> list[page.Section]:
    """The rows that are no score of 0 to 1."""
    sections = []
    if options.samples > 1:
        energy = spread.get("energy", {}).get("sample")
        said = "nothing to compare with" if energy is None else f"{energy.mean:.3f} world units"
        sections.append(
            page.Section(
                title="Spread of the samples (energy distance)",
                said=f"{said}, {_compared(rows)} of {len(rows)} clips compared",
                text=page.SPREAD[options.given],
                table=spread,
            )
        )
    if found:
        scores = nearest.summarise([np.array(one.ratios) for one in found.values()])
        missing = sum(one.missing for one in found.values())
        median, below = scores["median ratio"].mean, scores["share below 1"].mean
        sections.append(
            page.Section(
                title="Nearest training clip",
                said=f"median ratio {median:.3f}, share below 1 {below:.3f}, of {options.training} training "
                f"clips; {missing} samples could not be read and do not enter",
                text=page.COPYING,
                table={name: {"sample": score} for name, score in scores.items()},
            )
        )
    return sections


def _summary(table: Mapping[str, Mapping[str, Score]]) -> str:
    found = {column for columns in table.values() for column in columns}
    optional = [name for name in ("best-of-k", "nearest") if name in found]
    shown = ["truth", "sample", *optional, "frozen", "linear"]
    lines = [f"{'metric':28}" + "".join(f"{name:>10}" for name in shown)]
    for metric, columns in table.items():
        cells = (f"{columns[name].mean:.3f}" if name in columns else "-" for name in shown)
        lines.append(f"{metric:28}" + "".join(f"{cell:>10}" for cell in cells))
    return "\n".join(lines)


def _shown(rows: Sequence[Row], folder: Path, samples: int) -> tuple[list[page.Shown], list[page.Shown]]:
    """The worst clips, and those about the median, by the mean of their metrics."""
    scored = [row for row in rows if row.item is not None and row.scores.get("sample")]
    order = sorted(scored, key=lambda row: np.mean(np.nan_to_num(list(row.scores["sample"].values()))))
    middle = max(0, len(order) // 2 - SHOWN // 2)
    worst, median = order[:SHOWN], order[middle : middle + SHOWN]
    return [_clip(row, folder, samples) for row in worst], [_clip(row, folder, samples) for row in median]


def _clip(row: Row, folder: Path, samples: int) -> page.Shown:
    """A clip with its answer; of several samples the first that can be read."""
    assert row.item is not None
    low = sorted(row.scores["sample"].items(), key=lambda pair: np.nan_to_num(pair[1]))[:4]
    note = row.fault or ", ".join(f"{name} {np.nan_to_num(value):.2f}" for name, value in low)
    truth = benchmark.truth(row.item).video
    good = [k for k, sample in enumerate(row.samples) if sample.fault is None]
    file = answers.expand(row.item, samples)[good[0] if good else 0]
    return page.Shown(title=row.item.prompt, note=note, truth=truth, video=answers.read(folder, file).video)
