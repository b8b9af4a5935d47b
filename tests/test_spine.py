"""The whole road at its smallest: every public command, one after the other, on real clips."""

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from sora_jax import build, command, evaluate, export, folder, make_latents, sample, train
from sora_jax.command import UsageError
from sora_jax.data import video_files
from sora_jax.data.latents import LatentSource
from sora_jax.sampling.generate import generate, sample_latents
from sora_jax.sampling.request import Request, Settings
from sora_jax.training import checkpoint
from sora_jax.types import LatentClip
from sora_jax.worlds.source import WorldSource


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run folder with a trained (for seconds) and exported model."""
    run = tmp_path_factory.mktemp("run")
    ae, frozen, latents, dit, model = (
        str(run / name) for name in ("autoencoder", "frozen", "latents", "transformer", "model")
    )
    keep = "--config.train.keep=1"  # so that a second checkpoint can only be there as the best
    code = train.main(["--config", "configs/autoencoder.py:smoke", "--workdir", ae, keep])
    assert code == 0 and (run / "autoencoder/finished").exists()
    export.main(["autoencoder", "--workdir", ae, "--out", frozen])
    make_latents.main(["--config", "configs/latents.py:smoke", "--autoencoder", frozen, "--out", latents])
    inputs = [f"--config.autoencoder={frozen}", f"--config.data.latents={latents}"]
    code = train.main(["--config", "configs/dit.py:smoke", "--workdir", dit, keep, *inputs])
    assert code == 0 and (run / "transformer/finished").exists()
    export.main(["model", "--workdir", dit, "--autoencoder", frozen, "--out", model])
    return run


def test_training_logs_a_falling_loss_and_the_held_out_one(run):
    for name, heldout in (("autoencoder", "heldout_psnr"), ("transformer", "heldout_loss")):
        rows = [json.loads(line) for line in (run / name / "metrics.jsonl").read_text().splitlines()]
        losses = [row["loss"] for row in rows if "loss" in row]
        assert losses[-1] < losses[0]
        assert any(heldout in row for row in rows)
        assert list((run / name / "tensorboard").iterdir())


def test_the_latest_checkpoint_and_the_best_by_its_held_out_value_are_kept(run):
    for name, (metric, better) in {
        "autoencoder": ("heldout_psnr", max),
        "transformer": ("heldout_loss", min),
    }.items():
        rows = [json.loads(line) for line in (run / name / "metrics.jsonl").read_text().splitlines()]
        values = {row["step"]: row[metric] for row in rows if metric in row}
        best = better(values, key=values.__getitem__)
        assert len(values) > 1
        assert checkpoint.steps_in(run / name / "checkpoints") == sorted({best, max(values)})


def test_the_training_set_holds_none_of_the_held_out_prompts(run):
    prompts = [
        json.loads(line)["prompt"] for line in (run / "latents/prompts.jsonl").read_text().splitlines()
    ]
    source = LatentSource(run / "latents/train")
    captions = {text for k in range(len(source)) for text in source[k].captions.values()}
    assert prompts and captions and captions.isdisjoint(prompts)


def test_the_sampled_video_has_the_asked_size_and_is_the_same_again(run, capsys):
    out = run / "sample.mp4"
    arguments = [
        "--prompt",
        "a red circle moving left",
        "--checkpoint",
        str(run / "model"),
        "--out",
        str(out),
    ]
    arguments += ["--frames", "9", "--height", "48", "--width", "80", "--steps", "2", "--score"]
    sample.main([*arguments, "--sheet", str(run / "sheet.png")])
    video, _ = video_files.read_video(out)
    assert video.shape == (9, 48, 80, 3)
    assert (run / "sheet.png").stat().st_size > 0
    assert "parsed:" in capsys.readouterr().out
    first = out.read_bytes()
    sample.main(arguments)
    assert out.read_bytes() == first
    sample.main([*arguments, "--seed", "2"])
    other, _ = video_files.read_video(out)
    assert np.abs(other.astype(int) - video).mean() > 5


def test_a_request_gives_the_same_video_alone_and_packed(run):
    generator, _ = build.load_generator(run / "model")
    # A model of 8 steps puts out almost nothing: move its weights, so that a leak would show.
    draw = np.random.default_rng(0)
    moved = jax.tree.map(lambda x: x + 0.05 * draw.normal(size=x.shape).astype(np.float32), generator.params)
    generator = dataclasses.replace(generator, params=moved)
    requests = [
        Request(prompt="a red circle moving left", frames=9, height=48, width=48, fps=8, seed=3),
        Request(prompt="a blue bar", frames=1, height=48, width=64, fps=8, seed=3),
        Request(prompt="two green squares", frames=5, height=64, width=48, fps=16, seed=4),
    ]
    settings = Settings(steps=2, guidance_scale=2.0)
    together = generate(generator, requests, settings=settings, row_tokens=60, rows=2)
    for request, packed in zip(requests, together, strict=True):
        (alone,) = generate(generator, [request], settings=settings)
        assert alone.shape == packed.shape
        assert np.abs(alone.astype(int) - packed).max() <= 1  # a pixel at .5 may round either way
    other = dataclasses.replace(requests[0], prompt="two blue bars bounce off the floor")
    (told_otherwise,) = generate(generator, [other], settings=settings)
    assert np.abs(together[0].astype(int) - told_otherwise).max() > 1  # the caption is heard


def test_the_last_batch_of_rows_may_be_smaller(run):
    generator, _ = build.load_generator(run / "model")
    image = Request(prompt="a blue bar", frames=1, height=48, width=64, fps=8, seed=0)
    requests = [dataclasses.replace(image, seed=seed) for seed in range(3)]  # a row each, in twos
    videos = generate(generator, requests, settings=Settings(steps=1), rows=2)
    assert [video.shape for video in videos] == [(1, 48, 64, 3)] * 3


def test_given_latents_come_back_and_steer_the_rest(run):
    generator, _ = build.load_generator(run / "model")
    draw = np.random.default_rng(0)
    moved = jax.tree.map(lambda x: x + 0.05 * draw.normal(size=x.shape).astype(np.float32), generator.params)
    generator = dataclasses.replace(generator, params=moved)
    request = Request(prompt="a red circle moving left", frames=9, height=48, width=48, fps=8, seed=3)
    settings = Settings(steps=2, guidance_scale=2.0)
    given = draw.normal(size=(1, 6, 6, generator.channels)).astype(np.float32)
    (free,) = sample_latents(generator, [request], settings=settings)
    (led,) = sample_latents(generator, [dataclasses.replace(request, given=given)], settings=settings)
    np.testing.assert_array_equal(led[:1], given)
    assert led.shape == free.shape and np.abs(led[1:] - free[1:]).max() > 1e-3
    with pytest.raises(ValueError, match="do not begin a video"):
        generate(generator, [dataclasses.replace(request, given=given[:, :5])], settings=settings)


def test_scores_stand_beside_their_floors_and_nulls(run):
    prompts = str(run / "latents/prompts.jsonl")
    arguments = ["--checkpoint", str(run / "model"), "--prompts", prompts, "--steps", "2"]
    evaluate.main(["text", *arguments, "--out", str(run / "scores")])
    scores = json.loads((run / "scores/scores.json").read_text())["scores"]
    assert set(scores) == {"one object", "two objects", "images", "held-out combinations"}
    sheets = ("one_object", "two_objects", "images", "held-out_combinations")
    sizes = {name: cv2.imread(str(run / f"scores/{name}.png")).shape for name in (*sheets, "samples")}
    assert sizes["samples"][0] > max(sizes[name][0] for name in sheets)
    truth, floor = scores["one object"]["truth"], scores["one object"]["shuffled captions"]
    assert truth["color"]["mean"] == 1.0 and floor["color"]["mean"] < 1.0
    evaluate.main(["autoencoder", *arguments[:4], "--out", str(run / "scores")])
    assert json.loads((run / "scores/autoencoder.json").read_text())["images"]["psnr"]["clips"] == 2


def test_the_loss_on_held_out_latents_is_of_each_clip_once_whatever_the_batches(run, tmp_path):
    arguments = ["--checkpoint", str(run / "model"), "--latents", str(run / "latents/heldout")]
    clips = len(LatentSource(run / "latents/heldout"))
    found = []
    for rows in ("3", "5"):
        out = tmp_path / rows
        evaluate.main(["loss", *arguments, "--out", str(out), "--rounds", "2", "--rows", rows])
        found.append((json.loads((out / "scores.json").read_text()), np.load(out / "per_clip.npz")))
    (scores, losses), (other, again) = found
    assert (scores["clips"], scores["rounds"], scores["draws"]) == (clips, 2, 2 * clips)
    assert losses["clip"].tolist() == list(range(clips))
    np.testing.assert_allclose(again["loss"], losses["loss"], rtol=1e-5)
    np.testing.assert_allclose(other["loss"], scores["loss"], rtol=1e-5)
    assert scores["fingerprint"] == other["fingerprint"] and 0 < scores["standard error"] < scores["loss"]
    per_fifth = scores["per fifth of t"]
    assert len(per_fifth) == 5 and min(per_fifth) <= scores["loss"] <= max(per_fifth)
    evaluate.main(["loss", *arguments, "--out", str(tmp_path), "--rounds", "2", "--clips", "7"])
    np.testing.assert_allclose(np.load(tmp_path / "per_clip.npz")["loss"], losses["loss"][:7], rtol=1e-5)
    with pytest.raises(UsageError, match=f"has {clips}"):
        evaluate.main(["loss", *arguments, "--out", str(tmp_path), "--clips", "100000"])


def test_weights_that_are_not_the_tables_are_refused(run, tmp_path):
    table, autoencoder, _ = folder.read(run / "frozen")
    autoencoder["decoder_embed"]["kernel"] = autoencoder["decoder_embed"]["kernel"] + 1.0
    folder.write(tmp_path / "tampered", table, autoencoder=autoencoder)
    with pytest.raises(ValueError, match="do not belong together"):
        build.load_autoencoder(tmp_path / "tampered")


def test_latents_of_another_autoencoder_are_refused(run, tmp_path):
    shutil.copytree(run / "latents", tmp_path / "latents")
    for file in (tmp_path / "latents").glob("*/store.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "fingerprint": "other"}))
    inputs = [f"--config.autoencoder={run / 'frozen'}", f"--config.data.latents={tmp_path / 'latents'}"]
    with pytest.raises(UsageError, match="were made by autoencoder other"):
        train.main(["--config", "configs/dit.py:smoke", "--workdir", str(tmp_path / "dit"), *inputs])


def test_a_run_starts_from_an_earlier_release_where_asked(run):
    overrides = [f"autoencoder={run / 'frozen'}", f"data.latents={run / 'latents'}"]

    def table(start_from: Path):
        changes = [f"--config.{change}" for change in (*overrides, f"start_from={start_from}")]
        return command.load_config("configs/dit.py:smoke", changes)

    first = build.training(table(run / "model")).init_params(jax.random.key(5))
    jax.tree.map(np.testing.assert_array_equal, first, folder.read(run / "model")[2])
    with pytest.raises(ValueError, match="has no transformer: name a whole model"):
        build.training(table(run / "frozen"))


def test_a_clip_with_a_held_out_caption_is_left_out(tmp_path):
    source = WorldSource(seed=1, length=4, frames={1: 1.0}, sizes={(48, 64): 1.0})

    class Encoder:
        def encode_clips(self, clips):
            for c in clips:
                latents = np.zeros((1, 6, 8, 2), np.float32)
                yield LatentClip(latents=latents, fps=c.fps, captions=c.captions, id=c.id, frames=1)

    banned = frozenset({source[1].captions["descriptive"]})  # not a phrasing that is kept
    meta = {"fingerprint": "x", "ratio": [4, 8, 8]}
    assert make_latents._write(tmp_path, source, Encoder(), meta, banned, float("inf"), 4, ("short",), 0)
    assert LatentSource(tmp_path).ids.tolist() == [source[k].id for k in (0, 2, 3)]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--height", "90"], "height 90 is not a multiple of 16 .*: use 80 or 96"),
        (["--frames", "10"], "frames 10 .*: use 9 or 13"),
        (["--out", "x.avi"], "use one of .mp4"),
        (["--seed", "-1"], "--seed -1 is outside"),
        (["--steps", "0"], "steps 0 is below 1"),
    ],
)
def test_bad_input_names_the_value_and_the_mend(run, arguments, message):
    with pytest.raises(UsageError, match=message):
        sample.main(["--prompt", "a red circle", "--checkpoint", str(run / "model"), *arguments])


def test_an_unknown_checkpoint_names_the_shipped_ones():
    with pytest.raises(FileNotFoundError, match=r"give a folder .* or one of the shipped models"):
        sample.main(["--prompt", "a red circle", "--checkpoint", "nothing"])


def test_an_autoencoder_trains_on_against_a_discriminator_and_is_exported_without_it(run):
    """`test_models_autoencoder_loss` holds the gradients; this, that the whole road takes both sides."""
    ae, out = str(run / "adversarial"), run / "adversarial-frozen"
    switches = {"start_from": run / "frozen", "adversary.weight": 0.1, "adversary.width": 16}
    switches |= {"adversary.depth": 1, "train.total_steps": 4, "train.log_every": 2}
    switches |= {"optimizer.warmup_steps": 1, "optimizer.cooldown_steps": 1}
    overrides = [f"--config.{name}={value}" for name, value in switches.items()]
    code = train.main(["--config", "configs/autoencoder.py:smoke", "--workdir", ae, *overrides])
    assert code == 0
    rows = [json.loads(line) for line in (run / "adversarial/metrics.jsonl").read_text().splitlines()]
    assert any("hinge" in row for row in rows) and any("heldout_psnr" in row for row in rows)
    export.main(["autoencoder", "--workdir", ae, "--out", str(out)])
    before, after = folder.read(run / "frozen")[1], folder.read(out)[1]
    assert jax.tree.structure(before) == jax.tree.structure(after)
    change = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, after)
    assert 0 < max(jax.tree.leaves(change)) < 0.2  # four steps on from the weights it began with
    assert build.load_autoencoder(out).fingerprint


def test_sets_of_videos_are_compared_on_the_autoencoders_latents(run, tmp_path, capsys):
    draw = np.random.default_rng(0)
    for name, level in (("real", 128), ("same", 128), ("darker", 60)):
        for k in range(10):
            video = draw.normal(level + 9 * draw.normal(), 20, (5, 32, 32, 3)).clip(0, 255).astype(np.uint8)
            video_files.write_video(tmp_path / name / f"{k}.mp4", video, fps=8)
    values = {}
    for name in ("same", "darker"):
        out = tmp_path / f"out-{name}"
        flags = ["--real", str(tmp_path / "real"), "--generated", str(tmp_path / name), "--out", str(out)]
        evaluate.main(["fidelity", *flags, "--checkpoint", str(run / "frozen")])
        table = json.loads((out / "fidelity.json").read_text())
        assert (table["real"], table["generated"], table["unreadable"]) == (10, 10, [])
        values[name] = table["distances"]["frechet"]["value"]
    assert values["darker"] > 3 * values["same"]
    assert "real vs real" in capsys.readouterr().out


def test_a_model_is_asked_which_of_two_clips_is_more_likely(run, tmp_path):
    flags = ["--checkpoint", str(run / "model"), "--out", str(tmp_path), "--pairs", "2", "--side", "48"]
    evaluate.main(["plausibility", *flags, "--frames", "9", "--levels", "0.5"])
    table = json.loads((tmp_path / "plausibility.json").read_text())["preference_error"]
    recolor = table["recolor"]
    assert len(recolor) == 2 and all(s["mean"] in (0, 0.5, 1) and s["clips"] == 2 for s in recolor.values())
    with pytest.raises(command.UsageError, match=r"levels in \(0, 1\)"):
        evaluate.main(["plausibility", *flags, "--levels", "1.5"])
