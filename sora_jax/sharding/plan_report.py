"""A plan: what a program takes on a slice, read from its compilation, as a record and as a page of text.

The estimate is a roofline (Williams et al. 2009, doi 10.1145/1498765.1498785): each of

    compute   FLOPs that are run / (devices x peak)
    memory    bytes to and from HBM / bandwidth
    wire      bytes sent / wire
    host      bytes to and from the host's memory / host   (remat "offload" alone sends any)

is the least time of its part of the chip. If they overlap perfectly a step takes the longest of the four,
if not at all their sum; MFU is model FLOPs / (devices x peak x time) at either. No kernel reaches its
roofline, so this is a bound and a signal of regressions, never an achieved number. Of a machine that is there
the achieved numbers stand beside it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from sora_jax.sharding import plan_hlo, plan_traffic
from sora_jax.sharding.plan_chips import GIB, Chip
from sora_jax.sharding.plan_compile import Compiled, Measured, Memory
from sora_jax.sharding.plan_traffic import Traffic

# experiments/003_speed/gpu/results.json: 119 M parameters, attention "flash", by the peaks of that device.
CALIBRATION = (
    "  where such a bound was held against a device (one H200), a training step took 1.62 and sampling 1.12 "
    "times\n  as long as without overlap, and 1.01 and 1.21 times as much memory as above"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Roofline:
    """Seconds of the four parts, and those that the model's FLOPs alone would take (`ideal`)."""

    compute: float
    memory: float
    wire: float
    host: float
    ideal: float

    @property
    def parts(self) -> dict[str, float]:
        """Seconds by part."""
        return {"compute": self.compute, "memory": self.memory, "wire": self.wire, "host": self.host}

    @property
    def best(self) -> float:
        """Seconds if all overlaps."""
        return max(self.parts.values())

    @property
    def worst(self) -> float:
        """Seconds if nothing does."""
        return sum(self.parts.values())

    @property
    def bound(self) -> str:
        """The part that is longest."""
        return max(self.parts, key=self.parts.__getitem__)

    @property
    def mfu_high(self) -> float:
        """MFU if all overlaps."""
        return self.ideal / self.best

    @property
    def mfu_low(self) -> float:
        """MFU if nothing does."""
        return self.ideal / self.worst


def roofline(
    *,
    chip: Chip,
    devices: int,
    model_flops: float,
    run_flops: float,
    hbm_bytes: float,
    wire_bytes: float,
    host_bytes: float,
) -> Roofline:
    """See the module's docstring.

    Args:
      model_flops, run_flops: of all devices.
      hbm_bytes, wire_bytes, host_bytes: of one.
    """
    return Roofline(
        compute=run_flops / (devices * chip.peak),
        memory=hbm_bytes / chip.bandwidth,
        wire=wire_bytes / chip.wire,
        host=host_bytes / chip.host,
        ideal=model_flops / (devices * chip.peak),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What was asked, and what was found.

    Attributes:
      asked: config, topology, mesh, size, what: whatever names the row.
      parameters, rows, tokens: of the model and the batch.
      model_flops, run_flops: of all devices per step.
      memory, needed: bytes of a device; see `plan_compile.Compiled`.
      peak: FLOP/s of a device, at most.
      hbm: bytes of a device's memory.
      collectives: kind -> traffic of one device per step.
      hbm_bytes, host_bytes: to and from a device's memory, and between it and its host's, per step.
      unknown_loops: loops that were counted once.
      estimate: None if the compiler refused.
      refusal: its reason.
      seconds, cpu_seconds: of the compilation.
      measured: None if it was not run.
    """

    asked: dict[str, Any]
    chip: str
    devices: int
    parameters: int
    rows: int
    tokens: int
    model_flops: float
    run_flops: float
    memory: Memory | None
    needed: int
    peak: float
    hbm: int
    collectives: dict[str, Traffic]
    hbm_bytes: float
    host_bytes: float
    unknown_loops: list[str]
    estimate: Roofline | None
    refusal: str
    seconds: float
    cpu_seconds: float
    measured: Measured | None = None

    @property
    def fits(self) -> bool:
        """Whether the compiler took it and all of it lies within the chip's memory."""
        return not self.refusal and self.needed <= self.hbm

    def record(self) -> dict[str, Any]:
        """JSON values."""
        record = dataclasses.asdict(self)
        if self.estimate is not None:
            derived = ("best", "worst", "bound", "mfu_high", "mfu_low")
            record["estimate"] |= {name: getattr(self.estimate, name) for name in derived}
        return {**record, "fits": self.fits}


def make_plan(
    asked: dict[str, Any],
    compiled: Compiled,
    *,
    chip: Chip,
    devices: int,
    parameters: int,
    rows: int,
    tokens: int,
    model_flops: float,
    run_flops: float,
    measured: Measured | None = None,
) -> Plan:
    """The plan of a compiled program."""
    collectives, hbm_bytes, host_bytes, unknown, estimate = {}, 0.0, 0.0, [], None
    if compiled.text:
        module = plan_hlo.parse(compiled.text)
        collectives = plan_traffic.collectives(module)
        hbm_bytes, host_bytes = plan_traffic.hbm_bytes(module), plan_traffic.host_bytes(module)
        unknown = plan_hlo.runs(module)[1]
        estimate = roofline(
            chip=chip,
            devices=devices,
            model_flops=model_flops,
            run_flops=run_flops,
            hbm_bytes=hbm_bytes,
            wire_bytes=sum(traffic.bytes for traffic in collectives.values()),
            host_bytes=host_bytes,
        )
    return Plan(
        asked=asked,
        chip=chip.name,
        devices=devices,
        parameters=parameters,
        rows=rows,
        tokens=tokens,
        model_flops=model_flops,
        run_flops=run_flops,
        memory=compiled.memory,
        needed=compiled.needed,
        peak=chip.peak,
        hbm=int(chip.hbm),
        collectives=collectives,
        hbm_bytes=hbm_bytes,
        host_bytes=host_bytes,
        unknown_loops=unknown,
        estimate=estimate,
        refusal=compiled.refusal,
        seconds=compiled.seconds,
        cpu_seconds=compiled.cpu_seconds,
        measured=measured,
    )


def page(plan: Plan) -> str:
    """The plan as text."""
    verdict = "fits" if plan.fits else "DOES NOT FIT" if plan.needed > plan.hbm else "REFUSED"
    lines = [
        " ".join(f"{name}={value}" for name, value in plan.asked.items()),
        f"{plan.parameters / 1e6:.0f} M parameters, {plan.rows} rows of {plan.tokens} tokens, "
        f"{plan.devices} x {plan.chip}",
        f"{verdict}: {plan.needed / GIB:.2f} of {plan.hbm / GIB:.0f} GiB per device"
        + (f" ({plan.refusal})" if plan.refusal else ""),
    ]
    if plan.memory is not None:
        parts = dataclasses.asdict(plan.memory)
        lines.append("  " + ", ".join(f"{name} {value / GIB:.3f}" for name, value in parts.items()) + " GiB")
    lines.append(
        f"model {plan.model_flops / 1e15:.4g} PFLOP, run {plan.run_flops / 1e15:.4g} PFLOP, all devices"
    )
    for kind, traffic in plan.collectives.items():
        lines.append(f"  {kind}: {traffic.count} per step, {traffic.bytes / 1e9:.4g} GB sent by a device")
    if plan.host_bytes:
        lines.append(f"  to and from the host's memory: {plan.host_bytes / 1e9:.4g} GB by a device")
    if plan.unknown_loops:
        lines.append(f"  loops of unknown length, counted once: {', '.join(plan.unknown_loops)}")
    if (e := plan.estimate) is not None:
        lines += [
            "roofline: "
            + ", ".join(f"{name} {seconds:.4g} s" for name, seconds in e.parts.items())
            + f" ({e.bound} is longest)",
            f"  a step takes {e.best:.4g} s if they overlap (MFU {e.mfu_high:.0%}), {e.worst:.4g} s if not "
            f"({e.mfu_low:.0%}): a bound, not a measurement",
            *([CALIBRATION] if plan.measured is None else []),
        ]
    if (m := plan.measured) is not None and plan.estimate is not None:
        mfu = plan.model_flops / (plan.devices * plan.peak * m.seconds)
        best, worst = m.seconds / plan.estimate.best, m.seconds / plan.estimate.worst
        lines.append(
            f"measured, {m.runs} runs: {m.seconds:.4g} s (MFU {mfu:.1%}), {best:.2f} of what overlapping "
            f"would take, {worst:.2f} of what not overlapping would"
        )
        if m.peak is not None:
            share = m.peak / max(1, plan.needed)
            lines.append(f"  memory at its peak {m.peak / GIB:.2f} GiB, {share:.3f} of what is said above")
    lines.append(f"compiled in {plan.seconds:.0f} s ({plan.cpu_seconds:.0f} s of CPU)")
    return "\n".join(lines)
