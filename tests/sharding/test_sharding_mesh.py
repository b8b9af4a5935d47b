"""Eight fake devices train like one, and a checkpoint moves between meshes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("mesh_training.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    environment = {
        **os.environ,
        "PYTHONPATH": str(SCRIPT.parents[2]),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    command = [sys.executable, str(SCRIPT), str(tmp_path_factory.mktemp("mesh"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


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
