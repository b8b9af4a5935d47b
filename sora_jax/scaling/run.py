"""Trains a ladder's lines through the project's own loop and step, resumes, and measures each line's loss.

Several processes may work in one folder: each takes a run that no other holds.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax import build, rng
from sora_jax.build.denoising import denoising
from sora_jax.data import pipeline
from sora_jax.data.latents import LatentSource
from sora_jax.diffusion import objective
from sora_jax.evaluation import denoising as loss_lib
from sora_jax.evaluation.denoising import ClipLosses
from sora_jax.models.transformer import family
from sora_jax.scaling import ladder
from sora_jax.scaling.ladder import Line
from sora_jax.scaling.study import Study, locked
from sora_jax.sharding import mesh as mesh_lib
from sora_jax.training import checkpoint, loop, optimizer
from sora_jax.types import PackedBatch, Params, TrainState

HELD_OUT_ROWS = 64  # of a batch of held-out clips
WAIT_SECONDS = 5.0  # before a process looks again, when others hold all that is left

Wanted = Callable[[], Sequence[Line]]


@dataclasses.dataclass(frozen=True)
class Clock:
    """When to stop: `minutes` from its making; None = never."""

    minutes: float | None
    begun: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def left(self) -> float | None:
        """Minutes; None = for ever."""
        return None if self.minutes is None else self.minutes - (time.monotonic() - self.begun) / 60

    @property
    def over(self) -> bool:
        return self.left is not None and self.left <= 0


class Stopped(Exception):
    """The clock or a signal stopped a run; everything is saved."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def run(study: Study, wanted: Wanted, *, minutes: float | None, show: Callable[[str], None]) -> int:
    """Trains what `wanted()` names and is not finished; returns the exit code: 75 if a signal stopped it.

    Args:
      wanted: all lines, as far as the results tell; asked anew after every run, since results move the plan.
      minutes: stop after so many, saved; the same call goes on.
      show: called with a line of progress.
    """
    clock = Clock(minutes)
    held_out = HeldOut(study)
    while not clock.over:
        done = {row["name"] for row in study.rows()}
        todo = [one for one in wanted() if one.name not in done]
        if not todo:
            show("all lines are trained")
            return 0
        runs: dict[str, list[Line]] = {}
        for one in sorted(todo, key=lambda one: one.flops):
            runs.setdefault(one.run, []).append(one)
        try:
            if not any(_try(study, name, lines, held_out, clock, show) for name, lines in runs.items()):
                time.sleep(WAIT_SECONDS)
        except Stopped as stopped:
            show(f"stopped ({stopped.reason}), saved: the same command goes on")
            return loop.INTERRUPTED if stopped.reason == "signal" else 0
    show("the time is up: the same command goes on")
    return 0


def _try(
    study: Study, name: str, lines: list[Line], held_out: HeldOut, clock: Clock, show: Callable[[str], None]
) -> bool:
    """Whether this process could take the run, and did train its lines."""
    with locked(study.workdir / "runs" / f"{name}.lock", wait=False) as mine:
        if not mine:
            return False
        done = {row["name"] for row in study.rows()}  # another process may have finished it meanwhile
        lines = [one for one in lines if one.name not in done]
        if lines:
            _train_run(study, lines, held_out, clock, show)
    return True


def _train_run(
    study: Study, lines: list[Line], held_out: HeldOut, clock: Clock, show: Callable[[str], None]
) -> None:
    """One run at a constant rate, and the lines that branch off it, shortest first."""
    first = lines[0]
    config = study.config_for(first)
    held_out.check(config)
    mesh = mesh_lib.make_mesh(**config.mesh.to_dict())

    def make_training(config: Any) -> build.Training:
        return dataclasses.replace(build.training(config), evaluators=())

    with build.session(config, mesh, make_training) as session:
        workdir = study.workdir / "runs" / first.run
        for one in lines:
            branch_at = one.steps - one.cooldown_steps
            trunk = workdir / "trunk"
            if any(step > branch_at for step in checkpoint.steps_in(trunk / "checkpoints")):
                trunk = workdir / f"{one.budget:.3g}" / "trunk"  # that one is past it: begin anew
            state = _advance(session, trunk, None, branch_at, clock)
            branch = workdir / f"{one.budget:.3g}"

            def cooled(state: TrainState = state, steps: int = one.cooldown_steps) -> TrainState:
                copied = jax.tree.map(jnp.copy, state)
                return copied._replace(opt_state=optimizer.begin_cooldown(copied.opt_state, steps=steps))

            state = _advance(session, branch, cooled, one.steps, clock)
            losses = held_out.losses(config, state.params)
            row = _row(one, config, losses, seconds=_seconds(trunk) + _seconds(branch))
            study.record(one, row, losses)
            show(f"{one.name}: loss {row['loss']} +- {row['standard_error']}, {row['seconds']} s")


def _advance(
    session: build.Session,
    workdir: Path,
    begin: Callable[[], TrainState] | None,
    total_steps: int,
    clock: Clock,
) -> TrainState:
    """The state of a folder's run at `total_steps`: restored, or begun (`begin`, or fresh), and trained."""
    workdir.mkdir(parents=True, exist_ok=True)
    with session.checkpointer(workdir) as checkpointer:
        state = session.restore(checkpointer)
        if state is None:
            state = session.fresh() if begin is None else begin()
        if int(state.step) >= total_steps:
            return state
        if clock.over:
            raise Stopped("minutes")
        before, began = _seconds(workdir), time.monotonic()
        try:
            outcome = session.train(
                state, workdir, checkpointer, total_steps=total_steps, minutes=clock.left, terminal=False
            )
        finally:
            seconds = before + time.monotonic() - began
            (workdir / "seconds.json").write_text(json.dumps(round(seconds, 1)))
    if outcome.reason != "done":
        raise Stopped(outcome.reason)
    return outcome.state


def _seconds(workdir: Path) -> float:
    """How long a folder's run has trained, over all its starts."""
    file = workdir / "seconds.json"
    return float(json.loads(file.read_text())) if file.exists() else 0.0


class HeldOut:
    """The clips that no run trains on, packed once; and the loss of a model on them."""

    def __init__(self, study: Study) -> None:
        self._clips = study.config.ladder.held_out_clips
        self._batches: dict[tuple[Any, ...], list[PackedBatch]] = {}

    def check(self, config: Any) -> None:
        """Raises ValueError where there are too few clips: before a model is trained, not after."""
        self._packed(config)

    def losses(self, config: Any, params: Params) -> ClipLosses:
        """Of one model: fixed noise, even levels, uniform t, float32, captions as they are."""
        batches = self._packed(config)
        channels = batches[0].tokens.shape[-1] // int(np.prod(config.patch))
        apply = denoising(config, channels=channels).apply
        key = rng.key(0, "held-out loss")
        with jax.default_matmul_precision("highest"):  # a GPU's own float32 products are of 10 bits
            return loss_lib.clip_losses(key, apply, params, batches)

    def _packed(self, config: Any) -> list[PackedBatch]:
        data, store = config.data, str(Path(config.data.latents) / "heldout")
        rows_of = (store, data.row_tokens, data.row_text, data.max_segments)  # arms may pack otherwise
        if rows_of not in self._batches:
            rows = min(HELD_OUT_ROWS, self._clips)
            found = pipeline.make_batches(
                LatentSource(store),
                seed=0,
                rows=rows,
                row_tokens=data.row_tokens,
                row_text=data.row_text,
                max_segments=data.max_segments,
                patch=tuple(config.patch),
                caption_mix=data.caption_mix.to_dict(),
                oversize=data.oversize,
            )
            plan = found.batch_at.schedule.plan(0, 0)  # type: ignore[attr-defined]
            ends = plan.starts[rows::rows]  # clips in so many whole batches
            if not len(ends) or ends[-1] < self._clips:
                raise ValueError(
                    f"{store} has {len(plan.clips)} clips that fit a row, and the loss is taken on "
                    f"{self._clips}: make more (configs/latents.py), or set ladder.held_out_clips"
                )
            count = int(np.searchsorted(ends, self._clips)) + 1
            self._batches[rows_of] = [found.batch_at(k) for k in range(count)]
        return self._batches[rows_of]


def _row(one: Line, config: Any, losses: ClipLosses, *, seconds: float) -> dict[str, Any]:
    table, found = config.optimizer, loss_lib.held_out_loss(losses)
    fifths = range(objective.BINS)
    return {
        **ladder.as_json(one),
        "loss": f"{found.mean:.7f}",
        "standard_error": f"{found.standard_error:.7f}",
        "clips": len(losses.clip),
        "draws": losses.loss.size,
        **{f"loss_t{k}": f"{loss_lib.token_mean(losses, fifth=k):.6f}" for k in fifths},
        "depth": family(**config.model.size.to_dict())["depth"],
        "warmup_steps": table.warmup_steps,
        "learning_rate": table.learning_rate,
        "optimizer": table.name,
        "parametrization": "mup" if config.get("mup") else "standard",
        "seconds": round(seconds, 1),
        "processor": processor(),
        "commit": checkpoint.code_commit(),
    }


@functools.cache
def processor() -> str:
    """What trains here: the accelerator's kind, or the processor's name."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "cpu"
