"""Eight fake devices train like one, and a checkpoint moves between meshes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("mesh_training.py")


@pytest.fixture(scope="module")
def results(on_eight_devices, tmp_path_factory):
    return json.loads(on_eight_devices(SCRIPT, tmp_path_factory.mktemp("mesh"), seconds=500))


@pytest.mark.parametrize("name", ["fsdp", "three"])
def test_eight_devices_are_one(results, name):
    np.testing.assert_allclose(results[name]["loss"], results["single"]["loss"], rtol=1e-5)
    # Sums over devices are in another order; Muon's orthogonalisation stretches that by a few digits.
    np.testing.assert_allclose(results[name]["kernel"], results["single"]["kernel"], atol=1e-5)


def test_parameters_average_and_moments_are_cut(results):
    assert results["single"]["cut"] == []
    for name in ("fsdp", "three"):
        places = {path.split("/")[0] for path in results[name]["cut"]}
        assert places == {"params", "ema", "opt_state"}
        assert sum(path.endswith("kernel") for path in results[name]["cut"]) == len(results[name]["cut"]) == 7


@pytest.mark.parametrize("name", ["moved to single", "moved to three"])
def test_checkpoint_moves_to_another_mesh(results, name):
    np.testing.assert_allclose(results[name]["loss"], results["single"]["loss"][1:], rtol=1e-5)
    np.testing.assert_allclose(results[name]["kernel"], results["single"]["kernel"], atol=1e-5)
