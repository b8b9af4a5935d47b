"""Plans of a config's programs: one, or a search for the fastest that fits."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from sora_jax.build.models import Table
from sora_jax.build.planned import Size, What, program
from sora_jax.sampling.request import Settings
from sora_jax.sharding import context, plan_chips, plan_compile, plan_report
from sora_jax.sharding import mesh as mesh_lib

REMATS = ("none", "dots", "full", "offload")  # the fastest first
LONGEST_FSDP = 16  # beyond it, cut weights were seen to become sums of padded ones (PERFORMANCE.md)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is planned.

    Attributes:
      topology: see `plan_chips.devices_of`.
      runs: of the program, on devices that are there; 0 = it is not run.
      mesh: axis -> devices; data is what is left.
      what, size, rows, autoencoder, settings: see `planned.program`.
    """

    topology: str
    mesh: dict[str, int]
    what: What
    size: Size
    rows: int | None
    autoencoder: str
    settings: Settings
    runs: int = 0

    def told(self, config: Table) -> dict[str, Any]:
        """The names and values that tell this plan from others."""
        model = config.model
        told = {
            "what": self.what,
            "size": model.size,
            "topology": self.topology,
            "mesh": mesh_text(self.mesh),
        }
        told |= {"clip": "x".join(map(str, dataclasses.astuple(self.size))), "autoencoder": self.autoencoder}
        if self.what == "decode":
            return told
        told |= {"attention": model.attention}
        if self.what == "sample":
            return told | {"steps": self.settings.steps, "guidance": self.settings.guidance_scale}
        return told | {"remat": model.remat, "accumulate": config.train.accumulate}


def mesh_text(mesh: dict[str, int]) -> str:
    """The inverse of `sharding.mesh.parse`."""
    return ",".join(f"{axis}={size}" for axis, size in mesh.items())


def plan(config: Table, request: Request, *, hlo: Path | None = None) -> plan_report.Plan:
    """Compiles one program and reads its plan; `hlo` is where its text is written.

    Raises:
      ValueError: something of the request does not exist or divide; the message has the mend.
    """
    local = request.topology == plan_chips.LOCAL
    if request.runs < 0:
        raise ValueError(f"runs {request.runs} is below 0: use 1 or more, or 0 not to run it")
    if request.runs and not local:
        raise ValueError(f"topology {request.topology!r} is not there to be run on: use topology local")
    devices = plan_chips.devices_of(request.topology)
    mesh = mesh_lib.make_mesh(**request.mesh, devices=devices)
    with context.use(mesh):
        asked = program(
            config,
            request.what,
            request.size,
            mesh,
            autoencoder=request.autoencoder,
            rows=request.rows,
            settings=request.settings,
        )
        platform = None if local else "tpu"
        compiled = plan_compile.compile_program(asked.fn, asked.args, asked.static, platform=platform)
        measured = None
        if request.runs and compiled.run is not None:
            donated = request.what == "train"
            measured = plan_compile.measure(compiled.run, asked.args, donated=donated, runs=request.runs)
    # Only now: its probes would count among the memory that the program takes.
    dtype = jnp.dtype(config.model.dtype)
    chip = plan_chips.local_chip(dtype) if local else plan_chips.chip_of(request.topology)
    if hlo is not None:
        hlo.write_text(compiled.text)
    return plan_report.make_plan(
        request.told(config),
        compiled,
        chip=chip,
        devices=len(devices),
        parameters=asked.parameters,
        rows=asked.rows,
        tokens=asked.tokens,
        model_flops=asked.model_flops,
        run_flops=asked.run_flops,
        measured=measured,
    )


def meshes(devices: int) -> Iterator[dict[str, int]]:
    """Meshes of data, fsdp and context over so many devices, those that cut tokens least first."""
    for cut in (c for c in (1, 2, 4, 8, 16) if devices % c == 0):
        fsdp = math.gcd(devices // cut, LONGEST_FSDP)
        sizes = {"data": devices // cut // fsdp, "fsdp": fsdp, "context": cut}
        yield {axis: size for axis, size in sizes.items() if size > 1 or axis == "fsdp"}


def search(
    config: Table,
    request: Request,
    *,
    minutes: float,
    show: Callable[[plan_report.Plan], Any],
    plan_one: Callable[[Table, Request], plan_report.Plan] = plan,
) -> list[plan_report.Plan]:
    """Plans of all meshes, each with the lightest remat that fits; the fastest that fits comes first.

    The fastest is the one of the least time per row if all of a step overlaps. Where `request.rows` is
    given, the batch is cut into as many pieces as leave each device one row at once.

    Args:
      minutes: no compilation is begun after so long.
      show: called with every plan as it is made.

    Raises:
      ValueError: nothing to try: no mesh divides the rows, or no time.
    """
    deadline = time.monotonic() + 60 * minutes
    plans = []
    for mesh in meshes(plan_chips.count_devices(request.topology)):
        share = mesh.get("data", 1) * mesh["fsdp"]
        if request.rows is not None and request.rows % share:
            continue
        for remat in REMATS if request.what == "train" else ("none",):
            if time.monotonic() > deadline:
                break
            changed = copy.deepcopy(config)
            changed.model.remat = remat
            changed.train.accumulate = 1 if request.rows is None else request.rows // share
            plans.append(plan_one(changed, dataclasses.replace(request, mesh=mesh)))
            show(plans[-1])
            if plans[-1].fits:
                break
    if not plans:
        raise ValueError(f"nothing to try for {request.rows} rows in {minutes} minutes: give more of either")
    return sorted(plans, key=_seconds_per_row)


def _seconds_per_row(plan: plan_report.Plan) -> float:
    return plan.estimate.best / plan.rows if plan.fits and plan.estimate is not None else math.inf
