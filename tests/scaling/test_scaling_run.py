"""The smallest study from end to end, on latents that are noise: trained, resumed, and told the truth of."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from sora_jax import build, command
from sora_jax.data.latents import write_latents
from sora_jax.scaling import run as run_lib
from sora_jax.scaling import study as study_lib
from sora_jax.scaling.commands import main
from sora_jax.sharding import mesh as mesh_lib
from sora_jax.training import checkpoint
from sora_jax.types import LatentClip

RATIO = (4, 8, 8)


@pytest.fixture(scope="module")
def latents(tmp_path_factory) -> Path:
    """A store of clips of 17 frames of 48 x 48 whose latents are noise, as if the shipped autoencoder's."""
    folder = tmp_path_factory.mktemp("latents")
    fingerprint = build.load_autoencoder("gpu-128px").fingerprint

    def clips(seed):
        def some(start, stop):
            for k in range(start, stop):
                draw = np.random.default_rng((seed, k))
                values = draw.normal(size=(5, 6, 6, 16)).astype(np.float32)
                yield LatentClip(
                    latents=values, fps=8.0, frames=17, captions={"short": f"clip {k}"}, id=f"{seed}-{k}"
                )

        return some

    for seed, (name, total) in enumerate({"train": 64, "heldout": 32}.items()):
        write_latents(
            folder / name, clips(seed), total=total, meta={"fingerprint": fingerprint, "ratio": RATIO},
            shard_clips=32,
        )  # fmt: skip
    (folder / "manifest.json").write_text("{}")
    return folder


def run(workdir, latents, *more) -> int:
    given = ["run", "--tier", "smoke", "--workdir", str(workdir), "--latents", str(latents)]
    return main([*given, "--config.ladder.held_out=()", *more])


def rows_of(workdir) -> dict[str, dict[str, str]]:
    with (workdir / "runs.csv").open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def trained(latents, tmp_path_factory) -> Path:
    """A finished smoke study, after a start that had no time."""
    workdir = tmp_path_factory.mktemp("study")
    assert run(workdir, latents, "--minutes", "0") == 0
    assert not (workdir / "runs.csv").exists()
    assert run(workdir, latents) == 0
    return workdir


def test_every_line_of_the_plan_is_trained_once(trained, latents, capsys):
    rows = rows_of(trained)
    study = opened(trained, latents)
    assert set(rows) == {one.name for one in study.planned(["main"])} and len(rows) == 4
    for row in rows.values():
        loss, error = float(row["loss"]), float(row["standard_error"])
        assert 0.5 < loss < 3 and 0 < error < 0.2
        per_clip = np.load(trained / "losses" / f"{row['name']}.npy")
        assert per_clip.shape == (32,) and np.isclose(per_clip.mean(), loss, atol=1e-5)
        assert float(row["C"]) == pytest.approx(float(row["budget"]), rel=0.06)
        assert int(row["N"]) < int(row["N_total"]) and int(row["D"]) == int(row["steps"]) * 180
    before = (trained / "runs.csv").read_bytes()
    assert run(trained, latents) == 0
    assert (trained / "runs.csv").read_bytes() == before
    assert "all lines are trained" in capsys.readouterr().out


def opened(workdir, latents) -> study_lib.Study:
    overrides = [f"--config.data.latents={latents}", "--config.ladder.held_out=()"]
    return study_lib.open_study(command.load_config("configs/scaling.py:smoke", overrides), workdir)


def test_a_lost_row_is_made_again_to_the_digit(trained, latents, tmp_path):
    """From the branch's checkpoint: nothing is trained a second time, and the loss is the same."""
    rows = rows_of(trained)
    name = max(rows, key=lambda name: float(rows[name]["C"]))
    kept = [row for row in rows.values() if row["name"] != name]
    with (trained / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, study_lib.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
    (trained / "losses" / f"{name}.npy").unlink()
    assert run(trained, latents) == 0
    again = rows_of(trained)[name]
    assert again["loss"] == rows[name]["loss"] and again["seconds"] == rows[name]["seconds"]


def test_a_line_is_the_run_that_the_trainer_makes_of_its_length(trained, latents, tmp_path):
    """A branch of an open-ended run ends as one training with the schedule of its length does."""
    study = opened(trained, latents)
    one = min(study.planned(["main"]), key=lambda one: one.flops)
    config = study.config_for(one)
    config.unlock()
    config.optimizer.open_ended, config.optimizer.cooldown_steps = False, one.cooldown_steps
    config.train.total_steps = one.steps
    config.lock()
    mesh = mesh_lib.make_mesh(**config.mesh.to_dict())
    with build.session(config, mesh, build.training) as session, session.checkpointer(tmp_path) as saved:
        outcome = session.train(
            session.fresh(), tmp_path, saved, total_steps=one.steps, minutes=None, terminal=False
        )
    branch = trained / "runs" / one.run / f"{one.budget:.3g}" / "checkpoints"
    ended = checkpoint.read_params(branch, which="params")
    for ours, theirs in zip(jax.tree.leaves(ended), jax.tree.leaves(outcome.state.params), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


def test_a_folder_holds_one_tier(trained, latents):
    before = (trained / "runs.csv").read_bytes()
    with pytest.raises(command.UsageError, match="holds the runs of tier smoke, not cpu"):
        main(["run", "--tier", "cpu", "--workdir", str(trained), "--latents", str(latents)])
    assert (trained / "runs.csv").read_bytes() == before


def test_two_processes_do_not_train_one_run(trained, latents):
    study = opened(trained, latents)
    one = study.planned(["main"])[0]
    shown = []
    with study_lib.locked(study.workdir / "runs" / f"{one.run}.lock", wait=False) as mine:
        assert mine
        held = run_lib.HeldOut(study)
        assert not run_lib._try(study, one.run, [one], held, run_lib.Clock(None), shown.append)
    assert run_lib._try(study, one.run, [one], held, run_lib.Clock(None), shown.append)  # trained already
    assert not shown


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--arms", "mian"], "no arm 'mian': use one of .*main"),
        (["--tier", "smok"], "no variant 'smok'"),
        (["--config.ladder.cooldown=2.0"], "cooldown 2.0"),
        (["--config.ladder.held_out_clips=33"], "32 clips that fit a row"),
        (["--config.ladder.bugdets=1"], "did you mean 'budgets'"),
        (["--jobs", "99"], "--jobs 99 on"),
    ],
)
def test_what_cannot_be_used_is_told(latents, tmp_path, more, message):
    with pytest.raises((command.UsageError, ValueError), match=message):
        run(tmp_path, latents, *more)
    assert not (tmp_path / "runs.csv").exists()
    assert "smok" not in message or not (tmp_path / "tier").exists()  # a mistyped tier claims no folder


def test_images_first_is_a_stage_of_each_line(latents, tmp_path):
    study = opened(tmp_path, latents)
    config = study.config
    config.unlock()
    config.ladder.arms = {"images": {"images_first": 0.25}}
    config.lock()
    study = dataclasses.replace(study, config=config)
    lines = study.planned(["images"])
    assert len({one.run for one in lines}) == len(lines)  # none shares a run
    stages = study.config_for(lines[0]).data.stages
    assert stages[0] == (round(0.25 * lines[0].steps), ((1, 1.0),)) and stages[1][0] is None
