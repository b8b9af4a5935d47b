"""The FLOPs that a TPU slice does in some hours at the model that they are best spent on, by its roofline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sora_jax import build
from sora_jax.sampling.request import Settings
from sora_jax.scaling import ladder, predict
from sora_jax.scaling.law import Law
from sora_jax.scaling.study import Study
from sora_jax.sharding import mesh as mesh_lib
from sora_jax.sharding import plan_chips

GUESS = 0.4  # share of the peak that the first guess supposes
ROUNDS = 4  # the size that a budget asks for settles within so many plans


@dataclasses.dataclass(frozen=True)
class SliceBudget:
    """FLOPs of the slice's hours, by the roofline's two bounds.

    Attributes:
      flops: if all of a step overlaps; `least` if nothing does.
      width: of the model that was planned; told: in words.
    """

    flops: float
    least: float
    width: int
    told: str


def budget(found: Study, fits: Mapping[str, Any], topology: str, hours: float, mesh: str) -> SliceBudget:
    """Plans the model that the law asks for, and again at what its step time allows, until both agree.

    The estimate is a bound, not a measurement: between the two bounds lies what is not known of the overlap
    (`sharding.plan_report`).

    Raises:
      ValueError: hours not above 0, an unknown slice, no law, or a program that does not fit the chips.
    """
    if hours <= 0:
        raise ValueError(f"--hours {hours}: give more than 0")
    if "error" in fits["fits"][predict.ESTIMATOR]:
        raise ValueError(f"no law to predict from: {fits['fits'][predict.ESTIMATOR]['error']}")
    law, cost = Law(**fits["fits"][predict.ESTIMATOR]["law"]), predict.flops_per_token(found)
    devices, chip = plan_chips.count_devices(topology), plan_chips.chip_of(topology)
    flops, width = GUESS * devices * chip.peak * 3600 * hours, 0
    for _ in range(ROUNDS):
        parameters, _, _ = law.optimum_on(flops, cost)
        (asked,) = ladder.nearest(found.table, found.sizes("main"), flops, float(parameters), 1)
        if asked == width:
            break
        width = asked
        rows = found.table.rows_at(flops)
        config = found.config_of("main", width, rows, 0)
        plan = build.plan(config, _request(config, topology, mesh))
        if not plan.fits or plan.estimate is None:
            raise ValueError(
                f"width {width} at {plan.rows} rows a step does not fit {topology} "
                f"({plan.refusal or 'memory'}): give a larger slice, or another --mesh"
            )
        seconds = plan.estimate.best, plan.estimate.worst
        # As the ladder counts a step: what padding and remat do beside it costs time, and buys nothing.
        step_flops = found.sizes("main")(width, rows).step_flops
        flops, least = (step_flops / s * 3600 * hours for s in seconds)
    told = (
        f"{topology} for {hours:g} hours: width {width}, {seconds[0]:.3g} to {seconds[1]:.3g} s a step by "
        "its roofline (if all of it overlaps, if nothing does; a bound, not measured), "
        f"{least:.3g} to {flops:.3g} FLOPs"
    )
    return SliceBudget(flops, least, width, told)


def _request(config: Any, topology: str, mesh: str) -> build.Request:
    frames, height, width = config.evaluation.size
    return build.Request(
        topology=topology,
        mesh=mesh_lib.parse(mesh),
        what="train",
        size=build.Size(frames=frames, height=height, width=width),
        rows=config.data.rows,
        autoencoder="4x8x8",  # ratio and channels of the shipped one
        settings=Settings(),
    )
