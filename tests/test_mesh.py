"""Eight fake devices train the transformer as one does, whatever the mesh: loss, gradient, noise and data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("mesh_transformer.py")
FAST = ("fsdp=2,tensor=2,context=2", "data=2,context=4 ring")
EVERY = (
    *("data=8", "fsdp=8", "data=4,fsdp=2", "data=4,tensor=2", "data=4,context=2", "fsdp=4,tensor=2"),
    *("fsdp=4,context=2", "data=2,context=4", "fsdp=1,data=1,context=8", "tensor=2,context=4,data=1"),
    *("data=2,tensor=2,context=2", "data=2,tensor=2,context=2 ring", "data=1,context=8 ring"),
    "data=2,fsdp=2,context=2 xla offload",
)


def check(results: dict[str, dict], meshes: tuple[str, ...]) -> None:
    one = results["one"]
    assert len(set(one["loss"])) == len(one["loss"]), "nothing was trained"
    for name in meshes:
        found = results[name]
        # Sums over devices are in another order, and so are the sums of ten steps.
        np.testing.assert_allclose(found["loss"], one["loss"], rtol=1e-4, err_msg=name)
        np.testing.assert_allclose(found["loss"][0], one["loss"][0], rtol=1e-5, err_msg=name)
        assert found["gradient"] < 1e-4, name
        assert found["noise"] == one["noise"] and found["batch"] == one["batch"], name
        sides = dict(part.split("=") for part in name.split(" ")[0].split(","))
        assert set(found["cut"]) == {axis for axis in ("fsdp", "tensor") if sides.get(axis, "1") != "1"}, name


def test_meshes_of_every_axis_train_as_one_device(on_eight_devices):
    check(json.loads(on_eight_devices(SCRIPT, 3, *FAST, seconds=800)), FAST)


@pytest.mark.slow
def test_all_meshes_train_ten_steps_as_one_device(on_eight_devices):
    check(json.loads(on_eight_devices(SCRIPT, 10, *EVERY, seconds=3000)), EVERY)
