"""Many processes as one run, for real: each test starts the training command as processes of this machine."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from sora_jax import build, make_latents, sample, train, types
from sora_jax.data import latents, video_files
from sora_jax.sharding import context, mesh, processes
from sora_jax.training import checkpoint

ROOT = Path(__file__).parents[2]
MODEL = "gpu-128px"  # whose autoencoder the latents are said to be of
PATIENCE = 500.0  # seconds

spec = importlib.util.spec_from_file_location("local", ROOT / "experiments/launch/local.py")
local = importlib.util.module_from_spec(spec)
spec.loader.exec_module(local)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> list[str]:
    """Arguments of the training command: the smallest transformer on latents of noise."""
    store = tmp_path_factory.mktemp("latents")
    frozen = build.load_autoencoder(MODEL)
    channels, ratio = frozen.model.channels, frozen.ratio

    def clip(number: int) -> types.LatentClip:
        lf, side = 1 + number % 3, 4 + 2 * (number % 2)
        values = np.random.default_rng(number).normal(size=(lf, side, side, channels))
        return types.LatentClip(
            latents=values.astype(np.float32),
            fps=8.0,
            captions={"short": f"clip {number}"},
            id=f"c{number}",
            frames=1 + ratio[0] * (lf - 1),
        )

    meta = {"fingerprint": frozen.fingerprint, "ratio": ratio}
    for name, first, total in (("train", 0, 48), ("heldout", 100, 16)):
        latents.write_latents(
            store / name,
            lambda a, b, first=first: map(clip, range(first + a, first + b)),
            total=total,
            meta=meta,
        )
    return [
        "--config=configs/dit.py:smoke",
        f"--config.autoencoder={MODEL}",
        f"--config.data.latents={store}",
        "--config.train.checkpoint_every=4",
        "--config.train.log_every=1",
        "--config.data.caption_mix.descriptive=0.001",  # the clips have none
        "--config.data.row_tokens=48",
        "--config.evaluation.prompts=()",
    ]


def start(workdir: Path, *arguments: str, processes: int, devices: int) -> list[subprocess.Popen]:
    """The training command as so many processes."""
    return run("train", f"--workdir={workdir}", *arguments, processes=processes, devices=devices)


def run(name: str, *arguments: str, processes: int, devices: int) -> list[subprocess.Popen]:
    """A command as so many processes."""
    command = [sys.executable, "-m", f"sora_jax.{name}", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT}
    return local.start(command, processes=processes, devices=devices, **pipes)


def finished(started: list[subprocess.Popen]) -> tuple[list[int], list[str]]:
    """Their exit codes and outputs; none may hang."""
    try:
        outputs = [process.communicate(timeout=PATIENCE)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    return [process.returncode for process in started], outputs


def losses(workdir: Path, name: str = "loss") -> dict[int, float]:
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row[name] for row in rows if name in row}


@pytest.fixture(scope="module")
def alone(inputs, tmp_path_factory) -> Path:
    """Workdir of a run of 8 steps by one process on one device."""
    workdir = tmp_path_factory.mktemp("alone")
    assert train.main([*inputs, "--workdir", str(workdir)]) == 0
    return workdir


def assert_same_run(workdir: Path, other: Path) -> None:
    """Both have the same steps, losses and held-out losses, to the rounding of sums in another order."""
    for name in ("loss", "heldout_loss", "heldout_loss_t/3"):
        found, expected = losses(workdir, name), losses(other, name)
        assert list(found) == list(expected)
        assert found == pytest.approx(expected, rel=1e-6), name


def test_two_processes_are_one_run_and_one_goes_on_where_they_are_told(inputs, alone, tmp_path):
    cut = ["--config.mesh.fsdp=2", "--config.mesh.context=2"]
    codes, outputs = finished(start(tmp_path, *inputs, *cut, processes=2, devices=2))
    assert codes == [0, 0], outputs
    assert list(losses(tmp_path)) == list(range(1, 9))
    assert_same_run(tmp_path, alone)
    assert "step 4  loss" in outputs[0] and "loss" not in outputs[1]  # only the first one logs
    pace = losses(tmp_path, "steps_per_second")
    assert train.main([*inputs, "--workdir", str(tmp_path), "--from_step", "4"]) == 0
    assert checkpoint.steps_in(tmp_path / "set_aside") == [8]
    again = losses(tmp_path, "steps_per_second")
    assert [step for step in pace if pace[step] == again[step]] == [1, 2, 3, 4]  # the others were made anew
    assert_same_run(tmp_path, alone)


def wait_until(condition, started: list[subprocess.Popen]) -> None:
    """Polls until it holds; fails if a process ends before."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        ended = [process for process in started if process.poll() is not None]
        if ended or time.monotonic() > deadline:
            codes, outputs = finished(started)
            raise AssertionError(f"ended early, or nothing happened: {codes}\n{outputs}")
        time.sleep(0.002)


def reached(workdir: Path, step: int) -> bool:
    file = workdir / "metrics.jsonl"
    return file.exists() and f'"step": {step},' in file.read_text()


@pytest.mark.slow  # seven processes
def test_a_killed_process_ends_the_run_and_other_numbers_of_processes_go_on(inputs, tmp_path):
    inputs = [*inputs, "--config.train.total_steps=40", "--config.train.evaluate_every=20"]
    expected, workdir = tmp_path / "expected", tmp_path / "run"
    assert train.main([*inputs, "--workdir", str(expected)]) == 0

    four = start(workdir, *inputs, "--config.mesh.fsdp=2", processes=4, devices=1)
    wait_until(lambda: reached(workdir, 8), four)
    # Three out of four write on; that of the fourth is missing, so the checkpoint must not count.
    wait_until(lambda: any((workdir / "checkpoints").glob("*orbax-checkpoint-tmp*/params*")), four)
    four[3].kill()
    killed = time.monotonic()
    codes, outputs = finished(four)
    assert time.monotonic() - killed < 2 * processes.HEARTBEAT_SECONDS
    assert codes[3] == -signal.SIGKILL and all(code not in (0, 75) for code in codes[:3]), outputs
    assert any("process 1 of 4" in output for output in outputs[:3]) or codes[1] < 0, outputs

    two = start(workdir, *inputs, "--config.mesh.tensor=2", processes=2, devices=2)
    begun = checkpoint.steps_in(workdir / "checkpoints")[-1]
    wait_until(lambda: reached(workdir, begun + 6), two)
    two[1].send_signal(signal.SIGTERM)
    codes, outputs = finished(two)
    assert codes == [75, 75], outputs
    stopped = checkpoint.steps_in(workdir / "checkpoints")[-1]
    assert f"stopped at step {stopped} (signal)" in outputs[0]
    assert begun + 6 <= stopped < 40

    assert train.main([*inputs, "--workdir", str(workdir)]) == 0
    assert_same_run(workdir, expected)


@pytest.mark.slow  # four processes
def test_four_processes_train_save_and_draw_samples_and_an_error_in_one_ends_all(inputs, tmp_path):
    prompts = """--config.evaluation.prompts=("a red circle",)"""
    inputs = [*inputs, prompts, "--config.mesh.fsdp=2", "--config.mesh.context=2"]
    codes, outputs = finished(start(tmp_path, *inputs, processes=4, devices=1))
    assert codes == [0] * 4, outputs
    assert (tmp_path / "finished").exists() and list((tmp_path / "tensorboard").iterdir())
    assert list(losses(tmp_path, "heldout_loss")) == [4, 8]
    # Once more from step 4, on the same mesh: all is the same bit for bit.
    first, begun = losses(tmp_path), checkpoint.read_params(tmp_path / "checkpoints", which="params")
    codes, outputs = finished(start(tmp_path, *inputs, "--from_step=4", processes=4, devices=1))
    assert codes == [0] * 4, outputs
    assert checkpoint.steps_in(tmp_path / "set_aside") == [8] and losses(tmp_path) == first
    again = checkpoint.read_params(tmp_path / "checkpoints", which="params")
    jax.tree.map(np.testing.assert_array_equal, again, begun)
    # Another configuration than the checkpoint's: each says so, in a line with its number.
    other = start(tmp_path, *inputs, "--config.optimizer.learning_rate=0.5", processes=4, devices=1)
    codes, outputs = finished(other)
    assert all(codes)
    for number, output in enumerate(outputs):
        if codes[number] == 1:
            assert f"process {number} of 4: error: the checkpoint" in output and "0.5 here" in output
    assert 1 in codes


def test_two_processes_write_one_store_of_latents(tmp_path):
    arguments = ["--config=configs/latents.py:smoke", f"--autoencoder={MODEL}"]
    for part, length in (("train", 9), ("heldout", 2)):
        arguments += [
            f"--config.{part}.world.length={length}",
            f"--config.{part}.world.sizes=((48, 48, 1.0),)",
            f"--config.{part}.world.frames=((1, 0.5), (5, 0.5))",
        ]
    arguments += ["--config.shard_clips=4"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert make_latents.main([*arguments, "--out", str(one)]) == 0
    # Stopped by the clock before anything is written; the same command goes on.
    codes, outputs = finished(
        run("make_latents", *arguments, f"--out={two}", "--minutes=0", processes=2, devices=2)
    )
    assert codes == [75, 75] and "train: 3" in outputs[0] and "stopped" not in outputs[1], outputs
    codes, outputs = finished(run("make_latents", *arguments, f"--out={two}", processes=2, devices=2))
    assert codes == [0, 0], outputs
    assert (two / "manifest.json").read_text() == (one / "manifest.json").read_text()
    for part in ("train", "heldout"):
        a, b = (latents.LatentSource(store / part) for store in (one, two))
        assert len(a) == len(b) > 0 and a.manifest_hash == b.manifest_hash
        for number in range(len(a)):
            assert a[number].captions == b[number].captions
            np.testing.assert_allclose(a[number].latents, b[number].latents, atol=2e-3)


def test_two_processes_draw_the_video_that_one_does(tmp_path):
    size = ["--height=48", "--width=48", "--frames=5", "--steps=3", "--seed=3"]
    arguments = ["--prompt", "a large red circle moving right", *size]
    assert sample.main([*arguments, "--out", str(tmp_path / "one.mp4")]) == 0
    two = ["--out", str(tmp_path / "two.mp4"), "--mesh=fsdp=2,context=2"]
    codes, outputs = finished(run("sample", *arguments, *two, processes=2, devices=2))
    assert codes == [0, 0], outputs
    assert "two.mp4" in outputs[0] and "two.mp4" not in outputs[1], outputs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.mp4", "two.mp4"]
    a, b = (video_files.read_video(tmp_path / f"{name}.mp4")[0] for name in ("one", "two"))
    assert np.abs(a.astype(int) - b).mean() < 0.5 < a.std()
    # What is to be mended is told, and nothing hangs: the first to end may end the other in the middle.
    codes, outputs = finished(run("sample", *arguments, "--mesh=fsdp=3", processes=2, devices=2))
    told = [output for code, output in zip(codes, outputs, strict=True) if code == 1]
    assert all(codes) and told and all("does not fit 4 devices" in output for output in told), outputs


def test_a_place_among_processes_is_read_or_refused():
    assert processes.place("auto") == processes.Place(None, None, None)
    assert processes.place("localhost:9911,2,4") == processes.Place("localhost:9911", 2, 4)
    assert processes.place("[::1]:80,0,1").host == "[::1]:80"
    for wrong in ("", "localhost:1,4,4", "localhost,0,2", "localhost:1,-1,2", "localhost:1,0", "h:x,0,1"):
        with pytest.raises(ValueError, match="is no place among processes"):
            processes.place(wrong)


def test_one_process_holds_all_rows_and_agrees_with_itself():
    alone = mesh.make_mesh(data=1)
    assert context.rows_here(alone, 6) == [0, 1, 2, 3, 4, 5]
    batch = {"x": np.arange(12.0).reshape(6, 2), "n": np.float32(3)}
    placed = context.placer(alone, rows=6)(batch)
    np.testing.assert_array_equal(placed["x"], batch["x"])
    assert placed["n"] == 3
    agree = processes.agreement(alone)
    assert agree(5, (True, False)) == (5, (True, False))
