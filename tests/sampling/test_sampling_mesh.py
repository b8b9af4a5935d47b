"""Eight fake devices sample the video that one does, whatever the mesh; kernels that want whole blocks."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from sora_jax import build
from sora_jax.nn.attention import BLOCKS
from sora_jax.sampling import rows
from sora_jax.sharding import mesh as mesh_lib

SCRIPT = Path(__file__).with_name("mesh_sampling.py")
FAST = ("fsdp=2,tensor=2,context=2",)
EVERY = (
    *("data=8", "fsdp=8", "data=2,fsdp=2,tensor=2", "tensor=2,context=4", "context=8,data=1"),
    *("data=2,context=4 ring", "data=1,context=8 ring"),
)

spec = importlib.util.spec_from_file_location("mesh_sampling", SCRIPT)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.fixture(scope="module")
def alone():
    return build.load_generator(script.MODEL)


@pytest.fixture(scope="module")
def expected(alone) -> list[np.ndarray]:
    """The latents of one device."""
    return script.sample(*alone)


def check(names: tuple[str, ...], alone, expected: list[np.ndarray], out: Path) -> None:
    found = np.load(out)
    for number, one in enumerate(expected):
        assert one.std() > 0.1
        for name in names:
            np.testing.assert_allclose(found[f"{name}/{number}"], one, atol=1e-3, err_msg=name)
    surprise = script.surprise(*alone)
    assert surprise != 0
    for name in names:
        assert found[f"{name}/surprise"] == pytest.approx(surprise, abs=1e-4)
        sides = mesh_lib.parse(name.split(" ")[0])
        assert set(found[f"{name}/cut"]) == {axis for axis in ("fsdp", "tensor") if sides.get(axis, 1) > 1}
    for number, clip in enumerate(alone[0].autoencoder.encode_clips(script.clips())):
        np.testing.assert_allclose(found[f"encoded/{number}"], clip.latents, atol=1e-4)


def test_a_mesh_of_three_axes_samples_and_encodes_what_one_device_does(
    on_eight_devices, alone, expected, tmp_path
):
    out = tmp_path / "found.npz"
    on_eight_devices(SCRIPT, out, *FAST, seconds=400)
    check(FAST, alone, expected, out)


@pytest.mark.slow
def test_every_mesh_samples_what_one_device_does(on_eight_devices, alone, expected, tmp_path):
    out = tmp_path / "found.npz"
    on_eight_devices(SCRIPT, out, *EVERY, seconds=2000)
    check(EVERY, alone, expected, out)


def test_rows_are_padded_to_the_kernel_s_blocks_and_the_video_is_the_same(alone, expected):
    generator, settings = alone
    requests = script.requests()
    grids = [generator.grid(request) for request in requests]
    plan = rows.plan(grids, row_tokens=64)
    short, _, (parts, _), _ = rows.batch(generator, requests, grids, plan)
    assert short.segment.shape == parts.segment.shape == (2, 54) and short.text.shape[1] % 32 == 0
    wide = dataclasses.replace(generator, block=128)
    batch, start, (parts, scale), _ = rows.batch(wide, requests, grids, plan)
    assert batch.segment.shape == parts.segment.shape == start.shape == scale.shape == (2, 128)
    assert batch.text.shape[1] % 128 == 0
    assert rows.shares(generator) == 1
    for a, b in zip(expected, script.sample(wide, settings), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
    assert generator.block == BLOCKS["xla"] == 1 and BLOCKS["splash"] == 128


def test_a_mesh_that_does_not_divide_is_told():
    with pytest.raises(ValueError, match="axis=devices"):
        mesh_lib.parse("rows=2")
    with pytest.raises(ValueError, match="does not fit 1 devices"):
        mesh_lib.make_mesh(**mesh_lib.parse("fsdp=2"))
