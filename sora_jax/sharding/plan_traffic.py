"""What a compiled step moves, per device: collectives, and bytes to and from its memory and its host's.

A collective of `g` devices with a result of `r` bytes per device sends, per device (ring algorithms; Thakur
et al. 2005, doi 10.1177/1094342005051521, bandwidth terms):

    all-gather, all-to-all    r (g - 1) / g         all-reduce    2 r (g - 1) / g
    reduce-scatter            r (g - 1)             permute       r
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Mapping

from sora_jax.sharding.plan_hlo import Instruction, Module, called, runs, size_of

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
HOST = 5  # XLA's number of the host's memory, `S(5)` of a layout


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Of one kind of collective: how many run per step, and the bytes one device sends for them."""

    count: int
    bytes: float


def collectives(module: Module) -> dict[str, Traffic]:
    """Traffic per kind, of the kinds that occur."""
    counts, _ = runs(module)
    found: dict[str, Traffic] = {}
    chains: set[str] = set()
    for name, times in counts.items():
        for line in module.computations.get(name, ()):
            kind = line.op.removesuffix("-start")
            if kind not in KINDS:
                continue
            # One collective that runs beside several fusions stands in each of them, under one number.
            if chain := re.search(r'chain_id="(\d+)"', line.rest):
                if chain[1] in chains:
                    continue
                chains.add(chain[1])
            sent = _sent(kind, line, module.devices)
            if kind == "all-reduce" and name.startswith("all-reduce-scatter"):  # each device keeps its part
                kind, sent = "reduce-scatter", sent / 2
            old = found.get(kind, Traffic(0, 0.0))
            found[kind] = Traffic(old.count + times, old.bytes + times * sent)
    return {kind: found[kind] for kind in KINDS if kind in found}


def _sent(kind: str, line: Instruction, devices: int) -> float:
    """Bytes one device sends for one run of a collective."""
    size = _group_size(line.rest, devices)
    result = float(size_of(line.shape))
    if line.op.endswith("-start") and line.shape.startswith("("):
        match kind:  # the tuple holds the operands too
            case "all-gather":
                result *= size / (size + 1)
            case "collective-permute":
                result = (result - 4 * len(re.findall(r"u32\[\]", line.shape))) / 2
    match kind:
        case "all-gather" | "all-to-all":
            return result * (size - 1) / size
        case "all-reduce":
            return 2 * result * (size - 1) / size
        case "reduce-scatter":
            return result * (size - 1)
        case _:
            return result


def _group_size(rest: str, devices: int) -> int:
    """Devices that take part together: `replica_groups={{0,1},{2,3}}`, `[2,2]<=[4]`, or axes of a mesh, as in
    `mesh['axis_0'=2,'axis_1'=8] {'axis_0','axis_1':(1)4}` (of the second, the first four)."""
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\].*? \{([^}]*)\}", rest):
        sides = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        parts = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", found[2])
        return math.prod(int(part or sides[axis]) for axis, part in parts)
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]", rest):
        return int(found[1])
    if found := re.search(r"replica_groups=\{\{([\d,]*)\}", rest):
        return len(found[1].split(","))
    return devices


# What moves nothing through HBM by itself: names for buffers, and calls whose bodies are counted.
_FREE = frozenset(
    [
        "parameter",
        "constant",
        "tuple",
        "get-tuple-element",
        "bitcast",
        "while",
        "conditional",
        "call",
        "after-all",
        "partition-id",
        "replica-id",
        "opt-barrier",
        "iota",
        "broadcast",
    ]
)


def hbm_bytes(module: Module) -> float:
    """Bytes one device reads and writes in HBM per step: operands and results of everything that runs.

    A fusion reads of an operand what it slices out of it, and writes of a buffer it updates in place the
    update. What begins and ends apart (`-start`, `-done`) is counted where it begins. What stays in the
    on-chip memory (layout `S(1)`) is not counted; of a kernel (custom call), each operand is counted once,
    however often the kernel reads it.
    """
    counts, _ = runs(module)
    lines = [line for body in module.computations.values() for line in body if line.op == "fusion"]
    fused = {inner for line in lines for inner in called(line)}
    total = 0
    for name, times in counts.items():
        if name not in fused:
            shapes = {line.name: line.shape for line in module.computations.get(name, ())}
            total += times * sum(_moved(module, line, shapes) for line in module.computations.get(name, ()))
    return float(total)


def host_bytes(module: Module) -> float:
    """Bytes that go between one device's memory and its host's per step, both ways together.

    Counted are copies and slices, which is how `remat="offload"` moves what enters a layer.
    """
    counts, _ = runs(module)
    total = 0
    for name, times in counts.items():
        shapes = {line.name: line.shape for line in module.computations.get(name, ())}
        total += times * sum(_crossed(line, shapes) for line in module.computations.get(name, ()))
    return float(total)


def _crossed(line: Instruction, shapes: Mapping[str, str]) -> int:
    """Bytes that one run of an instruction moves between a device and its host."""
    operands = [shapes[name] for name in line.operands if name in shapes]
    if not operands:
        return 0
    match line.op.removesuffix("-start"):
        case "dynamic-update-slice":
            whole, piece = operands[0], operands[1]
        case "dynamic-slice" | "slice":
            whole = operands[0]
            piece = line.shape
            if line.op.endswith("-start"):  # ((operands), result, context)
                piece = line.shape.split("), ", 1)[1].rpartition(", ")[0]
        case "copy":
            piece = operands[0]
            # (result, operand, context) of one that begins and ends apart
            whole = line.shape[1:].split("}, ", 1)[0] + "}" if line.op.endswith("-start") else line.shape
        case _:
            return 0
    here, there = (size_of(shape, space=HOST) > 0 for shape in (whole, piece))
    return size_of(piece) if here != there else 0


def _moved(module: Module, line: Instruction, shapes: Mapping[str, str]) -> int:
    """Bytes that one run of an instruction moves; `shapes` are those of its computation's instructions."""
    if line.op in _FREE or line.op.endswith(("-done", "-update")):
        return 0
    operands = [shapes[name] for name in line.operands if name in shapes]
    result = size_of(line.shape, space=0)
    match line.op:
        case "slice-start":  # ((operand), result, context)
            source, slice_ = operands[0], line.shape.split("), ", 1)[1].rpartition(", ")[0]
            return (size_of(slice_) if size_of(source, space=0) else 0) + size_of(slice_, space=0)
        case op if op.endswith("-start"):  # its result names the operands too
            return size_of(line.shape, space=0)
        case "dynamic-update-slice":
            return 2 * size_of(operands[1], space=0)
        case "dynamic-slice" | "gather":
            return 2 * result
        case "fusion":
            body = module.computations.get(next(called(line)), ())
            return _read(body, operands) + _written(body)
        case _:
            return result + sum(size_of(shape, space=0) for shape in operands)


def _read(body: tuple[Instruction, ...], operands: list[str]) -> int:
    """Bytes that a fusion reads of its operands."""
    users: dict[str, list[Instruction]] = collections.defaultdict(list)
    for line in body:
        for operand in line.operands:
            users[operand].append(line)

    def of(name: str, whole: int) -> int:
        total = 0
        for line in users[name]:
            match line.op:
                case "bitcast":
                    total += of(line.name, whole)
                case "dynamic-slice" | "gather" if line.operands[0] == name:
                    total += size_of(line.shape)
                case "dynamic-update-slice" if line.operands[0] == name:
                    pass
                case _:
                    return whole
        return min(whole, total)

    parameters = sorted((x for x in body if x.op == "parameter"), key=lambda x: int(x.inside))
    return sum(of(p.name, size_of(shape, space=0)) for p, shape in zip(parameters, operands, strict=False))


def _written(body: tuple[Instruction, ...]) -> int:
    """Bytes that a fusion writes: its results, of one that updates a buffer in place the update."""
    lines = {line.name: line for line in body}

    def of(line: Instruction) -> int:
        source = line
        while source.op == "bitcast":
            source = lines[source.operands[0]]
        match source.op:
            case "tuple":
                return sum(of(lines[name]) for name in source.operands)
            case "dynamic-update-slice":
                return size_of(lines[source.operands[1]].shape)
            case _:
                return size_of(line.shape, space=0)

    return sum(of(line) for line in body if line.root)
