"""A run that is interrupted, killed or poisoned goes on as if nothing had happened, or says what did."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import toy_training as toy

from sora_jax import rng, tree
from sora_jax.training import checkpoint, loop, state, step

SCRIPT = Path(__file__).with_name("toy_training.py")
ROOT = SCRIPT.parents[2]
PATIENCE = 400.0  # seconds; a process takes 4 on a machine of its own


def start(*arguments: str | Path) -> subprocess.Popen:
    """The toy training in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUMPY_RANK_PROMOTION": "raise"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(condition, process: subprocess.Popen, seconds: float = PATIENCE) -> None:
    """Polls until the condition holds; fails if the process ends or the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise AssertionError(f"ended early with {process.returncode}: {process.stdout.read()}")
        if time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"nothing happened in {seconds} s")
        time.sleep(0.001)


def read(workdir: Path, step: int | None = None, *, ballast: int = 0) -> dict[str, np.ndarray]:
    """Every array of a checkpoint's whole state."""
    with checkpoint.Checkpointer(workdir / "checkpoints", config=toy.CONFIG) as checkpointer:
        abstract = state.abstract_state(
            lambda key: toy.init_params(key, ballast=ballast), toy.make_optimizer(100)
        )
        return jax.tree.map(np.asarray, tree.flatten(checkpointer.restore(abstract, step=step)))


def rows(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def step_fn():
    return step.make_step(toy.loss_fn, toy.make_optimizer(100), ema_decay=0.99)


@pytest.fixture(scope="module")
def ten(tmp_path_factory, step_fn) -> Path:
    """Workdir of a run of 10 steps in one go."""
    workdir = tmp_path_factory.mktemp("ten")
    outcome = toy.train(workdir, 10, step_fn=step_fn)
    assert outcome.reason == "done" and outcome.exit_code == 0
    return workdir


@pytest.fixture(scope="module")
def five(tmp_path_factory, step_fn) -> Path:
    """Workdir of a run of 5 steps."""
    workdir = tmp_path_factory.mktemp("five")
    toy.train(workdir, 5, step_fn=step_fn)
    return workdir


def test_ten_steps_are_five_and_five_in_a_new_process(ten, five, tmp_path):
    shutil.copytree(five, tmp_path, dirs_exist_ok=True)
    process = start(tmp_path, 10)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    whole, parts = read(ten), read(tmp_path)
    assert whole["step"] == 10 and whole.keys() == parts.keys() and len(whole) == 20
    for path, array in whole.items():
        np.testing.assert_array_equal(parts[path], array, err_msg=path, strict=True)
    loss = {row["step"]: row["loss"] for row in rows(ten)}
    assert loss == {row["step"]: row["loss"] for row in rows(tmp_path)} and list(loss) == [5, 10]


def test_background_save_holds_its_step_though_the_buffers_are_donated(ten, five):
    # In the run of ten, the save of step 5 is written while steps 6 to 10 overwrite the state's buffers.
    alone, overtaken = read(five, 5), read(ten, 5)
    for path, array in alone.items():
        np.testing.assert_array_equal(overtaken[path], array, err_msg=path)


def test_kill_during_a_save_leaves_the_checkpoint_before_it(tmp_path):
    checkpoints = tmp_path / "checkpoints"
    process = start(tmp_path, 10**6, "ballast=2", "checkpoint_every=3", "log_every=1")
    wait_for(lambda: len(checkpoint.steps_in(checkpoints)) >= 1, process)
    wait_for(lambda: any(checkpoints.glob("*orbax-checkpoint-tmp*/params/*")), process)
    process.kill()
    process.communicate()
    unfinished = list(checkpoints.glob("*orbax-checkpoint-tmp*"))
    assert unfinished, "the save had ended before the process was killed: give it more ballast"
    before = checkpoint.steps_in(checkpoints)
    found = read(tmp_path, ballast=2)
    assert found["step"] == before[-1]
    assert all(np.isfinite(array).all() for array in found.values())
    outcome = toy.train(tmp_path, before[-1] + 2, ballast=2, log_every=1)
    assert outcome.step == before[-1] + 2
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, outcome.step + 1))


def test_a_disk_that_is_full_is_named_and_nothing_is_lost(ten, five, tmp_path):
    # A limit on the size of a file stands for the end of the disk: the same calls fail, here for any user.
    shutil.copytree(five, tmp_path, dirs_exist_ok=True)
    most = max(path.stat().st_size for path in (five / "checkpoints").rglob("*")) // 2
    process = start(tmp_path, 10, f"largest_file={most}")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, output
    assert "CheckpointError: a checkpoint could not be written" in output and "File too large" in output
    assert "Those of the steps [5] are whole" in output
    process = start(tmp_path, 10)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    whole, parts = read(ten), read(tmp_path)
    for path, array in whole.items():
        np.testing.assert_array_equal(parts[path], array, err_msg=path, strict=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_signal_saves_and_exits_with_its_own_code(tmp_path, number):
    process = start(tmp_path, 10**6, "log_every=1", "checkpoint_every=1000000")
    wait_for(lambda: (tmp_path / "metrics.jsonl").exists() and len(rows(tmp_path)) >= 3, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 75, output
    latest = checkpoint.steps_in(tmp_path / "checkpoints")[-1]
    assert read(tmp_path)["step"] == latest == rows(tmp_path)[-1]["step"]
    assert f"stopped at step {latest}" in output


@pytest.mark.parametrize(("poisoned", "kept"), [(6, 5), (4, None), (9, 5)])
def test_a_step_that_is_not_finite_stops_the_run_and_is_never_saved(tmp_path, step_fn, poisoned, kept):
    # Batches 4 and 9 are those of steps 5 and 10, at which a save is due, and no row of the log that would
    # wait.
    def batches(start):
        for number, batch in zip(itertools.count(start), toy.batches(start), strict=False):
            yield {**batch, "y": np.full_like(batch["y"], np.inf)} if number == poisoned else batch

    with pytest.raises(loop.NonFiniteError, match=rf"step {poisoned + 1} \(batch {poisoned}\)") as error:
        toy.train(tmp_path, 100, step_fn=step_fn, batches=batches, log_every=100)
    assert checkpoint.steps_in(tmp_path / "checkpoints") == ([] if kept is None else [kept])
    if kept is None:
        assert "no checkpoint was saved yet" in str(error.value)
    else:
        assert str(tmp_path / "checkpoints" / str(kept)) in str(error.value)
        assert all(np.isfinite(array).all() for array in read(tmp_path).values())


class Clock:
    """Stands in for the module `time`: its seconds pass only when told."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def test_clock_stops_and_saves_and_waiting_for_data_is_seen(tmp_path, step_fn, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)

    def batches(start):
        for batch in toy.batches(start):
            clock.now += 1.0
            yield batch

    def timed(*arguments):
        clock.now += 3.0
        return step_fn(*arguments)

    outcome = toy.train(
        tmp_path, 1000, step_fn=timed, batches=batches, minutes=0.5, log_every=2, checkpoint_every=1000
    )
    # A step is 4 s, so 0.5 minutes end within the eighth.
    assert (outcome.reason, outcome.exit_code, outcome.step) == ("minutes", 0, 8)
    assert checkpoint.steps_in(tmp_path / "checkpoints") == [8]
    for row in rows(tmp_path):
        assert row["data_wait"] == 0.25 and row["steps_per_second"] == 0.25
        assert row["minutes_left"] == pytest.approx(max(30 - 4 * row["step"], 0) / 60)


def test_batches_that_end_are_an_error(tmp_path, step_fn):
    def few(start):
        return itertools.islice(toy.batches(start), 3)

    with pytest.raises(RuntimeError, match="batches ended before step 3"):
        toy.train(tmp_path, 10, step_fn=step_fn, batches=few)


def test_evaluators_decide_which_checkpoint_is_best(tmp_path, step_fn):
    class Distance:
        """Least at step 8."""

        def run(self, state):
            yield "distance", abs(int(state.step) - 8)
            yield "strip", np.zeros((4, 6, 3), np.uint8)

    toy.train(
        tmp_path,
        16,
        step_fn=step_fn,
        evaluators=[Distance()],
        evaluate_every=4,
        checkpoint_every=7,
        best_metric="distance",
    )
    # Saves: 4 and 8 (better), 7, 14, 16 (the last); the last two and the best are kept.
    assert checkpoint.steps_in(tmp_path / "checkpoints") == [8, 14, 16]
    with checkpoint.Checkpointer(
        tmp_path / "checkpoints", config=toy.CONFIG, best_metric="distance"
    ) as reopened:
        assert reopened.best_step == 8 and not reopened.is_better({"distance": 1.0})
        assert not reopened.is_better({"distance": float("nan")}) and reopened.is_better({"distance": -1.0})
        with pytest.raises(ValueError, match=r"best_metric 'distance' is none of .*\['distanse'\]"):
            reopened.is_better({"distanse": 0.0})
    assert [row["distance"] for row in rows(tmp_path) if "distance" in row] == [4, 0, 4, 8]


def test_keys_are_a_function_of_seed_and_step(tmp_path, step_fn):
    seen = []

    def spy(current, frozen, batch, key):
        seen.append(jax.random.key_data(key))
        return step_fn(current, frozen, batch, key)

    toy.train(tmp_path, 3, step_fn=spy)
    assert len(seen) == 3
    for number, key in enumerate(seen):
        np.testing.assert_array_equal(key, jax.random.key_data(rng.key(toy.SEED, "step", number)))
