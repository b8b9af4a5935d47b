"""`evaluate phyworld`: discs found in pixels, floors and nulls that are what they must be, the whole road."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sora_jax import command, evaluate, export, make_latents, train
from sora_jax.evaluate import phyworld as command_phyworld
from sora_jax.evaluation import discs
from sora_jax.worlds import phyworld
from sora_jax.worlds.phyworld import PhyworldSource

SIDE = 64


@pytest.fixture(scope="module")
def clips():
    """law -> (starts, clips) of eight clips."""
    sources = {law: PhyworldSource(law, seed=3, length=8, side=SIDE) for law in phyworld.RADIUS_IN}
    return {law: ([s.start(k) for k in range(8)], [s[k] for k in range(8)]) for law, s in sources.items()}


def test_discs_are_found_to_a_quarter_of_a_pixel_with_their_size(clips):
    for law, (starts, made) in clips.items():
        for start, clip in zip(starts, made, strict=True):
            place, radius = discs.locate(clip.video, len(start.radius))
            truth = phyworld.motion(law, start)[0] + phyworld.WORLD / 2
            inside = (
                (truth >= start.radius[:, None]) & (truth <= phyworld.WORLD - start.radius[:, None])
            ).all(-1)
            assert inside.sum() > 10
            assert np.abs(place - truth)[inside].max() < 0.25 * phyworld.WORLD / SIDE
            assert np.abs(radius - start.radius)[inside].max() < 0.05


def test_the_blue_disc_is_not_taken_for_the_red_one_and_what_is_gone_is_nan(clips):
    _, made = clips["collision"]
    video = made[0].video.copy()
    blue = discs.locate(video, 2)[0][:, 1]
    video[video[..., 2] < 200] = 255  # the red one is painted over
    place, radius = discs.locate(video, 2)
    assert np.isnan(place[:, 0]).all() and (radius[:, 0] == 0).all()
    np.testing.assert_allclose(place[:, 1], blue, atol=0.1)
    with pytest.raises(ValueError, match="3 discs in frames of 64 x 64"):
        discs.locate(video, 3)


def test_floor_and_nulls_are_what_the_law_makes_them(clips):
    scores = {}
    for law, (starts, made) in clips.items():
        columns = command_phyworld._nulls(law, starts, made, side=SIDE)
        scores[law] = {name: command_phyworld._scores(law, starts, v) for name, v in columns.items()}
    for law in scores:
        assert scores[law]["truth"]["as released"]["mean"] < 0.02
        assert scores[law]["truth"]["missing"]["mean"] == 0
    speed = np.mean([start.velocity[0] for start in clips["uniform"][0]])
    assert scores["uniform"]["frozen"]["velocity"]["mean"] == pytest.approx(speed, rel=0.01)
    assert scores["uniform"]["linear"]["as released"]["mean"] < 0.02, "going on is uniform motion's law"
    assert scores["parabola"]["linear"]["velocity"]["mean"] > 1, "and not that of a fall"
    assert scores["parabola"]["linear"]["as released"]["mean"] < 0.02, "which the released error does not see"
    assert scores["collision"]["linear"]["as released"]["mean"] > 1


def test_latents_that_cannot_hold_three_frames_are_refused():
    assert [command_phyworld._frames(ratio) for ratio in (1, 2)] == [32, 33]
    with pytest.raises(ValueError, match="ratio 1 or 2"):
        command_phyworld._frames(4)
    with pytest.raises(command.UsageError, match="ratio 1 or 2"):
        evaluate.main(["phyworld", "--checkpoint", "gpu-128px", "--law", "uniform", "--out", "out/none"])


@pytest.mark.slow
def test_the_whole_road_of_one_law(tmp_path):
    run = {name: str(tmp_path / name) for name in ("ae", "frozen", "latents", "dit", "model", "out")}
    assert train.main(["--config", "configs/autoencoder.py:phyworld_smoke", "--workdir", run["ae"]]) == 0
    export.main(["autoencoder", "--workdir", run["ae"], "--out", run["frozen"]])
    laws = [f"--config.{part}.phyworld.laws=('parabola',)" for part in ("train", "heldout")]
    config = ["--config", "configs/latents.py:phyworld_smoke", *laws]
    make_latents.main([*config, "--autoencoder", run["frozen"], "--out", run["latents"]])
    inputs = [f"--config.autoencoder={run['frozen']}", f"--config.data.latents={run['latents']}"]
    assert train.main(["--config", "configs/dit.py:phyworld_smoke", "--workdir", run["dit"], *inputs]) == 0
    export.main(["model", "--workdir", run["dit"], "--autoencoder", run["frozen"], "--out", run["model"]])
    evaluate.main(
        [
            *("phyworld", "--checkpoint", run["model"], "--law", "parabola", "--clips", "3"),
            *("--splits", "in", "out_speed", "--steps", "2", "--out", run["out"]),
        ]
    )
    scores = json.loads((tmp_path / "out/phyworld.json").read_text())["scores"]
    assert set(scores) == {"in", "out_speed"}
    assert scores["in"]["sample"]["velocity"]["mean"] > scores["in"]["truth"]["velocity"]["mean"]
    assert (tmp_path / "out/in.png").exists()
