"""The camera's certificates: tables, the tier of the 3-D room, a quick one that a blind metric fails."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest

from sora_jax import command, evaluate
from sora_jax.evaluation.physics import camera, certificate, certificate_camera, certificates, suite_camera
from sora_jax.evaluation.physics import sweep_camera as tier_lib
from sora_jax.evaluation.physics.corruptions import related
from sora_jax.evaluation.physics.suite import PROPERTIES
from sora_jax.evaluation.physics.sweep import choose
from sora_jax.worlds import gl

try:
    with gl.renderer(gl.load().MjModel.from_xml_string("<mujoco/>"), height=8, width=8):
        MISSING = ""
except gl.No3DError as error:
    MISSING = str(error)
needs_3d = pytest.mark.skipif(bool(MISSING), reason=MISSING)

LINES = {m.name: m for m in suite_camera.CAMERA}
ROWS = {c.name: c for c in suite_camera.CAMERA_CORRUPTIONS}


def test_every_metric_has_its_own_corruptions_and_some_that_it_must_not_see():
    assert tuple(LINES) == camera.CAMERA_METRICS and len(ROWS) == len(suite_camera.CAMERA_CORRUPTIONS)
    for row in ROWS.values():
        assert row.failures <= LINES.keys() and row.changes <= PROPERTIES.keys()
        assert len(row.doses) >= 5 and sorted(set(row.doses)) == list(row.doses)
    for line in LINES.values():
        assert line.reads <= PROPERTIES.keys()
        assert any(line.name in row.failures for row in ROWS.values()), line.name
        assert any(related(line, row) is None for row in ROWS.values()), line.name
    # a dolly too far turns nothing, keeps its form, and moves all along the lines on which it should move
    for name in ("rotation", "translation", "sampson", "coherence"):
        assert related(LINES[name], ROWS["dolly too far"]) is None
    assert all(related(line, ROWS["things tinted"]) is None for line in LINES.values())


def test_what_applies_to_few_is_chosen_first():
    says = np.zeros((20, 2), bool)
    says[:, 0], says[[11, 17], 1] = True, True
    chosen = choose(says, clips=8)
    assert chosen[:2] == [0, 1] and set(chosen[2:4]) == {11, 17} and len(set(chosen)) == 8


def test_without_opengl_the_command_says_what_to_install(monkeypatch, tmp_path):
    def missing():
        raise gl.No3DError("no off-screen OpenGL for the 3-D worlds: apt-get install libegl1")

    monkeypatch.setattr(gl, "load", missing)
    flags = ["certify", "--camera", "--clips", "8", "--side", "32", "--out", str(tmp_path)]
    with pytest.raises(command.UsageError, match="apt-get install"):
        evaluate.main(flags)
    with pytest.raises(command.UsageError, match="uniform: with --camera use still, fall, ramp, collision"):
        evaluate.main([*flags, "--families", "uniform"])
    with pytest.raises(command.UsageError, match="still: without --camera use uniform"):
        evaluate.main(["certify", "--families", "still", "--out", str(tmp_path)])
    with pytest.raises(command.UsageError, match="--workers 2: give 1, or more only with --camera"):
        evaluate.main(["certify", "--workers", "2", "--out", str(tmp_path)])


@pytest.fixture(scope="module")
def takes():
    return tier_lib.make_takes("collision", clips=3, seed=4, frames=7, side=64)


@needs_3d
def test_what_a_scene_says_before_it_is_filmed_is_what_its_truth_says(takes):
    table = suite_camera.CAMERA_CORRUPTIONS
    for item in takes:
        said = tier_lib._applying(item.scene, suite_camera.CAMERA, table)
        assert said[: len(LINES)] == (~np.isnan(suite_camera.measure(item.video, item.state))).tolist()
        streams = [np.random.default_rng(k) for k in range(5)]
        for row, does in zip(table, said[len(LINES) :], strict=True):
            if row.edit not in ("no return", "scale", "wrong sign", "time warp"):
                made = tier_lib.corrupt(item, row, streams)
                assert (made is not None) == does, row.name
                assert made is None or all(np.array_equal(v[0], item.video[0]) for v in made)


@needs_3d
def test_all_doses_in_one_context_are_each_dose_alone(takes):
    item = next(t for t in takes if t.scene.camera.move != "fixed")
    row = ROWS[f"{item.scene.camera.move} too far"]
    together = tier_lib.corrupt(item, row, [np.random.default_rng(0)] * 5)
    assert together is not None and len(together) == 5
    alone = tier_lib.camera_corruptions.refilm(item.scene, item.motion, row.edit, row.doses[3])
    assert np.array_equal(together[3], alone) and not np.array_equal(together[2], alone)


@needs_3d
def test_a_nuisance_changes_the_picture_and_not_the_facts(takes):
    item = takes[0]
    for name in ("texture", "palette", "light", "96 px", "blur 1", "noise 5/255"):
        film = tier_lib.NUISANCES[name]
        video, told = film(item, np.random.default_rng(1))
        assert video.shape == (*told.state.depth.shape, 3) and video.dtype == np.uint8, name
        assert video.shape != item.video.shape or not np.array_equal(video, item.video)
        np.testing.assert_array_equal(told.state.world_to_camera, item.state.world_to_camera)
        np.testing.assert_array_equal(told.state.position, item.state.position)
    assert np.array_equal(tier_lib.take(item.scene, number=0).video, item.video)  # the light is as it was


@pytest.mark.slow
@needs_3d
def test_a_quick_certificate_shows_who_sees_what_and_a_blind_metric_fails(monkeypatch, tmp_path):
    monkeypatch.setattr(certificate, "LEAST_CLIPS", 3)
    blind = dataclasses.replace(LINES["coherence"], name="blind", score=lambda seen, truth: 1.0)
    found = certificate_camera.certify(
        [LINES["rotation"], LINES["coherence"], blind],
        [ROWS["no return"], ROWS["tint"], ROWS["pan too far"], ROWS["things tinted"]],
        clips=8,
        seed=2,
        frames=9,
        side=64,
        families=("fall",),
        nuisances=False,
    )
    gates = found["coherence"]["gates"]
    assert gates["monotone"]["pass"] and gates["nulls"]["pass"], gates
    seen = {name: cell["auroc"] for name, cell in gates["specificity"]["cells"].items()}
    assert seen["no return"] == seen["tint"] == 1 and seen["things tinted"] == 0.5
    assert gates["ceiling"]["raw"]["mean"] > 0.98 and gates["ceiling"]["raw"]["clips"] >= 3
    cells = found["rotation"]["gates"]["specificity"]["cells"]
    assert cells["pan too far"]["kind"] == "own" and cells["pan too far"]["auroc"] > 0.95
    assert cells["things tinted"]["kind"] == "unrelated" and abs(cells["things tinted"]["auroc"] - 0.5) <= 0.1
    assert {"monotone", "separation", "specificity", "nulls"} <= set(found["blind"]["failing"])
    certificate.write(found, tmp_path, settings={}, picture="matrix_camera.png", say=lambda line: None)
    assert (tmp_path / "matrix_camera.png").stat().st_size > 10_000
    one = json.loads((tmp_path / "coherence.json").read_text())
    old = json.loads((certificates.FOLDER / "velocity.json").read_text())
    assert one.keys() == old.keys() and one["gates"].keys() == old["gates"].keys()


def test_the_page_gets_every_matrix_in_one_picture(monkeypatch, tmp_path):
    monkeypatch.setattr(certificates, "FOLDER", tmp_path)
    assert certificates.picture() is None
    assert certificates.failing()["rotation"] == "no certificate"
    for name, shade, size in (("matrix.png", 10, (4, 6)), ("matrix_camera.png", 90, (3, 5))):
        cv2.imwrite(str(tmp_path / name), np.full((*size, 3), shade, np.uint8))
    data = certificates.picture()
    assert data is not None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None and image.shape == (7, 6, 3)
    assert (image[:4] == 10).all() and (image[4:, :5] == 90).all() and (image[4:, 5] == 255).all()
    (tmp_path / "matrix_other.png").write_bytes(b"no picture")
    with pytest.raises(OSError, match="no readable PNG"):
        certificates.picture()
