"""Training runs as points (C, N, D, loss) of a scaling law: read from anybody's CSV, grouped by budget."""

from __future__ import annotations

import csv
import dataclasses
import difflib
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

# What a column is called where the caller does not say.
COLUMNS = {
    "parameters": "N",
    "tokens": "D",
    "flops": "C",
    "loss": "loss",
    "standard_error": "standard_error",
    "name": "name",
}
NUMBERS = ("parameters", "tokens", "flops", "loss", "standard_error")


@dataclasses.dataclass(frozen=True)
class Points:
    """Runs of one family of models, one entry a run; every array is float64 [n].

    Attributes:
      flops: C, training FLOPs; parameters: N; tokens: D, tokens seen.
      loss: the held-out loss; standard_error: its own standard error, NaN where it was not given.
      names: what messages call each run by.
      notes: what was not in the file but worked out, in words.
    """

    flops: np.ndarray
    parameters: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    standard_error: np.ndarray
    names: list[str]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.loss)

    def take(self, chosen: np.ndarray) -> Points:
        """The runs at these indices (or under this mask)."""
        index = np.arange(len(self))[chosen]
        arrays = {name: getattr(self, name)[index] for name in NUMBERS}
        return dataclasses.replace(self, **arrays, names=[self.names[i] for i in index])


def read_points(
    path: str | Path, columns: Mapping[str, str] | None = None, *, where: Mapping[str, object] | None = None
) -> Points:
    """The runs of a CSV file with a header: N, loss and at least one of D and C.

    Of N, D and C a missing one follows from C = 6 N D, which `notes` then says.

    Args:
      columns: {"parameters" | "tokens" | "flops" | "loss" | "standard_error" | "name": the file's column},
        for those that are not called as in COLUMNS.
      where: {column: value}, to read only the rows that have this text there.

    Raises:
      ValueError: with file, line (as an editor counts), column, value and mend.
    """
    path, columns, where = Path(path), dict(columns or {}), dict(where or {})
    if unknown := set(columns) - set(COLUMNS):
        raise ValueError(f"columns for {sorted(unknown)}: the names to give are {', '.join(COLUMNS)}")
    header, rows = _rows(path)
    for column in [*columns.values(), *where]:
        _require(path, header, column)
    names = {**COLUMNS, **columns}
    used = {what: column for what, column in names.items() if column in header}
    for what in ("parameters", "loss"):
        _require(path, header, names[what])
    if "tokens" not in used and "flops" not in used:
        _require(
            path, header, names["tokens"], f" or {names['flops']!r} (FLOPs; D then follows from C = 6 N D)"
        )
    chosen = _select(path, rows, where)
    table: dict[str, np.ndarray] = {
        what: np.array([_number(path, line, used[what], row[used[what]], what) for line, row in chosen])
        for what in NUMBERS
        if what in used
    }
    table.setdefault("standard_error", np.full(len(chosen), np.nan))
    notes = []
    for what, column, other in (("tokens", "flops", "D = C / (6 N)"), ("flops", "tokens", "C = 6 N D")):
        if what not in table:
            six = 6 * table["parameters"]
            table[what] = table[column] / six if what == "tokens" else table[column] * six
            notes.append(
                f"{path.name} has no column {names[what]!r}: {other} was used for all {len(chosen)} runs"
            )
    labels = [row[used["name"]] if "name" in used else f"line {line}" for line, row in chosen]
    return Points(**table, names=labels, notes=tuple(notes))


def budgets(points: Points, tolerance: float = 0.1) -> list[np.ndarray]:
    """Indices of the runs of each budget, cheapest first: C within `tolerance` (in log) of a common centre.

    Again and again the run with the most runs around it, until fewer than 3 distinct sizes lie together: what
    is left over belongs to no budget.
    """
    log_c, width = np.log(points.flops), math.log1p(tolerance)
    free, found = np.ones(len(points), bool), []
    near = np.abs(log_c[:, None] - log_c) <= width
    while free.any():
        together = near & free & free[:, None]
        members = np.flatnonzero(together[together.sum(axis=1).argmax()])
        if len(np.unique(points.parameters[members])) >= 3:
            found.append(members)
        free[members] = False
    return sorted(found, key=lambda members: log_c[members].mean())


def at_least(points: Points, needed: int, why: str) -> None:
    """Raises ValueError where there are fewer than `needed` runs."""
    if len(points) < needed:
        raise ValueError(f"{len(points)} runs: {why} needs at least {needed}: train more, or read more rows")


def _rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header, and (line, {column: text}) of each row that is not blank."""
    rows, seen, line = [], {}, 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [cell.strip() for cell in next(reader, [])]
            if not any(header):
                raise ValueError(f"{path}, line 1: no header: the first line names the columns")
            if len(header) == 1 and (mark := next((m for m in ";\t" if m in header[0]), None)):
                raise ValueError(f"{path}, line 1: columns separated by {mark!r}: save the file with commas")
            if twice := {column for column in header if header.count(column) > 1}:
                raise ValueError(f"{path}, line 1: two columns {min(twice)!r}: rename one")
            line = reader.line_num
            for cells in reader:
                start, line = line + 1, reader.line_num
                cells = [cell.strip() for cell in cells]
                if not any(cells):
                    continue
                if len(cells) != len(header):
                    raise ValueError(
                        f"{path}, line {start}: {len(cells)} cells under {len(header)} columns: "
                        "put a number or a text with commas in it between quotes"
                    )
                if (before := seen.setdefault(tuple(cells), start)) != start:
                    raise ValueError(
                        f"{path}, line {start}: the same as line {before}, in every column: remove one "
                        "(runs that differ only by seed need a column that says so)"
                    )
                rows.append((start, dict(zip(header, cells, strict=True))))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error}): save it as CSV UTF-8") from error
    if not rows:
        raise ValueError(f"{path}: a header and no rows: one row a run is needed")
    return header, rows


def _require(path: Path, header: list[str], column: str, other: str = "") -> None:
    if column not in header:
        near = difflib.get_close_matches(column, header, 1, cutoff=0.5)
        nearest = f": did you mean {near[0]!r}?" if near else ":"
        there = ", ".join(map(repr, header))
        raise ValueError(
            f"{path}, line 1: no column {column!r}{other}{nearest} say what yours is called, of {there}"
        )


def _select(path: Path, rows: list[tuple[int, dict[str, str]]], where: Mapping[str, object]) -> list:
    for column, value in where.items():
        kept = [(line, row) for line, row in rows if row[column] == str(value)]
        if not kept:
            there = ", ".join(map(repr, sorted({row[column] for _, row in rows})[:8]))
            raise ValueError(f"{path}, column {column!r}: no row has {str(value)!r}; there are {there}")
        rows = kept
    return rows


def _number(path: Path, line: int, column: str, text: str, what: str) -> float:
    place = f"{path}, line {line}, column {column!r}"
    if not text:
        if what == "standard_error":
            return math.nan
        raise ValueError(f"{place}: empty: fill it in, or remove the row")
    try:
        value = float(text)
    except ValueError:
        mend = (
            "write it without commas or units, like 1e9"
            if text[0].isdigit()
            else "a number is needed, like 1e9"
        )
        raise ValueError(f"{place}: {text!r} is not a number: {mend}") from None
    if not math.isfinite(value):
        raise ValueError(
            f"{place}: {text!r} is not finite: remove the row (a run that diverged is no point of a law)"
        )
    if value <= 0:
        raise ValueError(
            f"{place}: {text!r} is not above 0: powers of C, N and D and the log of the loss need it"
        )
    return value
