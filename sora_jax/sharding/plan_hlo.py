"""Optimised HLO text as data, and how often each of its computations runs per step.

XLA's own analysis counts the body of a loop once. Here every computation is weighed by how often it runs: the
product of the trip counts of the loops around it, which the text states (`known_trip_count`) or the loop's
condition implies (`counter < constant`). A loop of which neither is known is counted once and named.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

_BITS = {"pred": 8, "s4": 4, "u4": 4, "bf16": 16, "c64": 64, "c128": 128}
_ARRAY = re.compile(r"\b(pred|bf16|[suf]\d+\w*|c64|c128)\[([\d,]*)\](\{[^}]*\})?")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+)\s*\(.*\{\s*$")
_LINE = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([a-z][\w\-]*)\((.*)$")
_CALLS = re.compile(r"\b(?:calls|body|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line: `name = shape op(inside), rest`; `root` marks the computation's result."""

    name: str
    shape: str
    op: str
    inside: str
    rest: str
    root: bool

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of the operands, in order."""
        return tuple(re.findall(r"%([\w.\-]+)", self.inside))


@dataclasses.dataclass(frozen=True)
class Module:
    """Computations by name, the one that runs first, and the devices of the program."""

    entry: str
    computations: Mapping[str, tuple[Instruction, ...]]
    devices: int


def parse(text: str) -> Module:
    """The module of `compiled.as_text()`.

    Raises:
      ValueError: no entry computation in it.
    """
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header and " = " not in line.split("(")[0]:
            current = computations.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif current is not None and (found := _LINE.match(line)):
            inside, rest = _split_call(found[5])
            current.append(Instruction(found[2], found[3], found[4], inside, rest, bool(found[1])))
    if not entry:
        raise ValueError("the HLO text has no ENTRY computation: give compiled.as_text()")
    devices = math.prod(
        int(found[1]) if (found := re.search(rf"{name}=(\d+)", text[:100_000])) else 1
        for name in ("num_partitions", "replica_count")
    )
    return Module(entry, {name: tuple(lines) for name, lines in computations.items()}, devices)


def size_of(shape: str, *, space: int | None = None) -> int:
    """Bytes of all arrays of a shape; with `space`, of those in that memory space (0 is HBM) alone."""
    total = 0
    for kind, sides, layout in _ARRAY.findall(shape):
        where = re.search(r"S\((\d+)\)", layout)
        if space is not None and int(where[1] if where else 0) != space:
            continue
        bits = _BITS.get(kind) or int(re.search(r"\d+", kind)[0])  # type: ignore[index]
        total += math.prod(int(side) for side in sides.split(",") if side) * bits // 8
    return total


def runs(module: Module) -> tuple[dict[str, int], list[str]]:
    """How often each computation runs per step, and the loops whose trip count is not known.

    Both branches of a conditional are counted, so what is in them is an upper bound.
    """
    counts: collections.Counter[str] = collections.Counter()
    unknown: list[str] = []

    def visit(name: str, times: int) -> None:
        counts[name] += times
        for line in module.computations.get(name, ()):
            inner = times
            if line.op == "while":
                trips = _trips(module, line)
                if trips is None:
                    unknown.append(line.name)
                inner *= 1 if trips is None else trips
            for inner_name in called(line):
                visit(inner_name, inner)

    visit(module.entry, 1)
    return dict(counts), sorted(set(unknown))


def matrix_flops(module: Module) -> int:
    """Multiplications and additions of the products of matrices, each as often as it runs.

    A `dot` of which one side has no axis of its own, as the inner products of a norm's gradient on a CPU, is
    elementwise work and left out.
    """
    times, _ = runs(module)
    total = 0
    for name, lines in module.computations.items():
        sides = {line.name: _sides(line.shape) for line in lines}
        for line in lines:
            if line.op != "dot" or name not in times:
                continue
            left, right = (sides[operand] for operand in line.operands)
            inner = [left[axis] for axis in _axes("lhs_contracting_dims", line.rest)]
            shared = len(inner) + len(_axes("lhs_batch_dims", line.rest))
            if shared < min(len(left), len(right)):
                total += times[name] * 2 * math.prod(inner) * math.prod(_sides(line.shape))
    return total


def _sides(shape: str) -> list[int]:
    found = _ARRAY.search(shape)
    return [int(side) for side in found[2].split(",") if side] if found else []


def _axes(name: str, rest: str) -> list[int]:
    found = re.search(rf"\b{name}=\{{([\d,]*)\}}", rest)
    return [int(axis) for axis in found[1].split(",") if axis] if found else []


def _trips(module: Module, line: Instruction) -> int | None:
    if found := re.search(r'known_trip_count\\?":\{\\?"n\\?":\\?"(\d+)', line.rest):
        return int(found[1])
    condition = re.search(r"condition=%?([\w.\-]+)", line.rest)
    lines = module.computations.get(condition[1], ()) if condition else ()
    compares = [x for x in lines if x.op == "compare" and "direction=LT" in x.rest and x.root]
    bounds = {x.name: x for x in lines if x.op == "constant"}
    if len(compares) == 1 and (bound := bounds.get(compares[0].operands[-1])):
        return int(bound.inside) if bound.inside.isdigit() else None
    return None


def called(line: Instruction) -> Iterator[str]:
    """The computations that an instruction runs; the scalar functions of a reduction are not followed."""
    if line.op.endswith(("-done", "-update")):
        return
    yield from _CALLS.findall(line.rest)
    if line.op == "call" and (found := re.search(r"to_apply=%?([\w.\-]+)", line.rest)):
        yield found[1]
    for group in _BRANCHES.findall(line.rest):
        yield from (name.strip().lstrip("%") for name in group.split(","))


def _split_call(text: str) -> tuple[str, str]:
    """What stands inside the parentheses of a call, and what follows."""
    depth = 1
    for place, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            return text[:place], text[place + 1 :]
    return text, ""
