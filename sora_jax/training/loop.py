"""The training loop. It knows functions: batches, a step, evaluators; no model, no data set.

The order within one step is: batch -> step -> (log) -> (evaluate) -> (save) -> stop? A batch and a key are
pure functions of (seed, step), so the state is all that a checkpoint needs, and the same command resumes the
same run.

Nothing that is not finite is ever saved: each step's "finite" flag is read one step later, so that the device
always has the next step in hand, and at once before an evaluation or a save.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol

import jax
import numpy as np

from sora_jax import rng
from sora_jax.training.checkpoint import Checkpointer
from sora_jax.training.log import Log
from sora_jax.training.step import Metrics, StepFn
from sora_jax.types import TrainState

# sysexits.h EX_TEMPFAIL, "try again": stopped by SIGTERM or SIGINT with everything saved; the same command
# goes on.
INTERRUPTED = 75


# (step, flags) -> (the step of the answer, whether any process set each flag then).
Agree = Callable[[int, Sequence[bool]], tuple[int, Sequence[bool]]]


class NonFiniteError(RuntimeError):
    """The loss, the gradient or the parameters are no longer finite."""


class Evaluator(Protocol):
    """Looks at a state, changes nothing: yields (name, value), value a float or an image `[h w 3]` uint8."""

    def run(self, state: TrainState) -> Iterable[tuple[str, Any]]: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended, saved: "done" (all steps), "minutes" (the clock) or "signal" (SIGTERM, SIGINT)."""

    state: TrainState
    step: int
    reason: Literal["done", "minutes", "signal"]

    @property
    def exit_code(self) -> int:
        """For `sys.exit`: 75 after a signal, else 0."""
        return INTERRUPTED if self.reason == "signal" else 0


def train(
    state: TrainState,
    step_fn: StepFn,
    *,
    batches: Callable[[int], Iterable[Any]],
    seed: int,
    total_steps: int,
    checkpointer: Checkpointer,
    log: Log,
    frozen: Any = None,
    place: Callable[[Any], Any] = jax.device_put,
    evaluators: Sequence[Evaluator] = (),
    log_every: int = 50,
    evaluate_every: int = 1000,
    checkpoint_every: int = 1000,
    checkpoint_minutes: float = 10.0,
    minutes: float | None = None,
    agree: Agree = lambda step, flags: (step, flags),
) -> Outcome:
    """Trains from `state.step` to `total_steps`, or until the clock or a signal stops it.

    Args:
      state: new, or restored; donated.
      step_fn: `(state, frozen, batch, key) -> (state, metrics)`, with "finite" in its metrics; see
        `step.make_step`.
      batches: `batches(start)` iterates over the batches of steps start, start + 1, ...; each a pure function
        of (its own seed, step).
      seed: the key of step s is `rng.key(seed, "step", s)`.
      total_steps: steps in all, those before a restart included.
      checkpointer, log: owned by the caller, who closes them.
      frozen: handed to every step (parameters that are not trained).
      place: host batch -> device batch, in its sharding.
      evaluators: run every `evaluate_every` steps and after the last.
      log_every: steps between rows of metrics; a row is the mean over the steps since the row before.
      checkpoint_every, checkpoint_minutes: a save is due after so many steps, or so many minutes, whichever
        is first.
      minutes: stop after so many (compilation included); None = no clock.
      agree: what any process wishes, of (stop for a signal, stop for the clock, save for the clock), and at
        which step it did; the same in every process. See `sharding.processes.agreement`.

    Raises:
      NonFiniteError: with the step, and the last good checkpoint.
      RuntimeError: the batches ended early.
    """
    start = step = int(state.step)
    step_key = jax.jit(functools.partial(rng.key, seed, "step"))
    watch = _FiniteWatch(checkpointer)
    meter = _Meter(total_steps=total_steps, minutes=minutes)
    saved_at, saved_step = time.monotonic(), start
    reason: Literal["done", "minutes", "signal"] = "done"
    iterator = iter(batches(start)) if start < total_steps else iter(())
    with _signals_caught(log) as caught:
        while step < total_steps:
            with meter.waiting():
                batch = place(_next(iterator, step))
            state, metrics = step_fn(state, frozen, batch, step_key(np.uint32(step)))
            step += 1
            watch.add(step, metrics)
            meter.add(metrics)
            log.progress(step)

            late = minutes is not None and meter.minutes >= minutes
            old = time.monotonic() - saved_at >= 60 * checkpoint_minutes
            asked, (signalled, late, old) = agree(step, (bool(caught), late, old))
            if signalled or late:
                reason = "signal" if signalled else "minutes"
            last = step == total_steps or reason != "done"
            if step % log_every == 0 or last:
                watch.flush()
                log.values(step, meter.row(step))
            values: dict[str, float] = {}
            if evaluators and (step % evaluate_every == 0 or step == total_steps):
                watch.flush()
                with meter.paused():
                    values = _evaluate(evaluators, state, step, log)
            due = step % checkpoint_every == 0 or (old and asked > saved_step)
            if due or last or checkpointer.is_better(values):
                watch.flush()
                checkpointer.save(state, values=values)
                saved_at, saved_step = time.monotonic(), step
            if last:
                break
        checkpointer.wait()
    if reason != "done":
        log.text(
            f"stopped at step {step} ({reason}), saved in {checkpointer.path(step)}: the same command goes on"
        )
    return Outcome(state=state, step=step, reason=reason)


def _next(iterator: Iterator[Any], step: int) -> Any:
    try:
        return next(iterator)
    except StopIteration:
        raise RuntimeError(f"the batches ended before step {step}: they have to go on for ever") from None


def _evaluate(evaluators: Sequence[Evaluator], state: TrainState, step: int, log: Log) -> dict[str, float]:
    """Runs them all, logs what they say, returns the numbers."""
    values = {}
    for evaluator in evaluators:
        for name, value in evaluator.run(state):
            if np.ndim(value) == 0:
                values[name] = float(value)
            else:
                log.image(step, name, np.asarray(value))
    if values:
        log.values(step, values)
    return values


class _FiniteWatch:
    """Reads each step's "finite" flag when the step after it has been handed to the device."""

    def __init__(self, checkpointer: Checkpointer):
        self._checkpointer = checkpointer
        self._pending: tuple[int, Metrics] | None = None

    def add(self, step: int, metrics: Metrics) -> None:
        """Remembers this step, and checks the one before it."""
        previous, self._pending = self._pending, (step, metrics)
        self._check(previous)

    def flush(self) -> None:
        """Checks the last step; waits for it."""
        pending, self._pending = self._pending, None
        self._check(pending)

    def _check(self, pending: tuple[int, Metrics] | None) -> None:
        if pending is None or bool(pending[1]["finite"]):
            return
        step, metrics = pending
        values = {name: float(value) for name, value in metrics.items()}
        self._checkpointer.wait()
        latest = self._checkpointer.latest_step
        kept = (
            "no checkpoint was saved yet"
            if latest is None
            else (f"the last good checkpoint is of step {latest}: {self._checkpointer.path(latest)}")
        )
        raise NonFiniteError(
            f"step {step} (batch {step - 1}) is not finite: {values}; {kept}. Lower the learning rate or "
            "clip_norm and train on from it in another workdir."
        )


class _Meter:
    """Means of the metrics, the pace, and the share of time spent waiting for data, since the row before."""

    def __init__(self, *, total_steps: int, minutes: float | None):
        self._total_steps = total_steps
        self._limit = minutes
        self._begun = time.monotonic()
        self._restart()

    def _restart(self) -> None:
        self._since = time.monotonic()
        self._waited = 0.0
        self._window: list[Metrics] = []

    @property
    def minutes(self) -> float:
        """Since the loop began."""
        return (time.monotonic() - self._begun) / 60

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Time within counts as waiting for data."""
        before = time.monotonic()
        yield
        self._waited += time.monotonic() - before

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time within does not count towards the pace."""
        before = time.monotonic()
        yield
        self._since += time.monotonic() - before

    def add(self, metrics: Metrics) -> None:
        """Remembers one step's metrics; does not wait for them."""
        self._window.append({name: value for name, value in metrics.items() if name != "finite"})

    def row(self, step: int) -> dict[str, float]:
        """Means since the row before, and: steps_per_second, data_wait (share, 0 to 1), minutes_left."""
        window = jax.device_get(self._window)
        elapsed = max(time.monotonic() - self._since, 1e-9)
        pace = len(window) / elapsed
        left = (self._total_steps - step) / pace / 60
        if self._limit is not None:
            left = min(left, max(self._limit - self.minutes, 0.0))
        means = {name: float(np.mean([row[name] for row in window])) for name in window[0]}
        waited = self._waited / elapsed
        self._restart()
        means = {"loss": means.pop("loss"), **means}
        return {**means, "steps_per_second": pace, "data_wait": waited, "minutes_left": left}


@contextlib.contextmanager
def _signals_caught(log: Log) -> Iterator[list[int]]:
    """A list that becomes non-empty at the first SIGTERM or SIGINT; a second one acts as it would have."""
    caught: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, frame: Any) -> None:
        caught.append(number)
        restore()

    for number in before:
        signal.signal(number, handle)
    try:
        yield caught
    finally:
        restore()
    if caught:
        log.text(f"{signal.Signals(caught[0]).name}: saved")
