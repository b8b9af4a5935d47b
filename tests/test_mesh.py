"""Eight fake devices give the transformer's loss of one device, whatever the mesh."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("mesh_transformer.py")


@pytest.fixture(scope="module")
def values():
    environment = {
        **os.environ,
        "PYTHONPATH": str(SCRIPT.parent.parent),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("mesh", ["data", "data x fsdp", "fsdp x context"])
def test_a_mesh_gives_the_loss_of_one_device(values, mesh):
    first, second, _ = values["single"]
    assert first != second
    # The first loss differs by the order of sums alone; the second also by Muon's orthogonalisation.
    np.testing.assert_allclose(values[mesh][0], first, rtol=1e-5)
    np.testing.assert_allclose(values[mesh][1], second, rtol=1e-4)


def test_the_noise_is_the_same_on_every_mesh(values):
    # Sums of the same numbers in another order: float32 rounding of about 2000 terms.
    sums = [value[2] for value in values.values()]
    np.testing.assert_allclose(sums, sums[0], atol=1e-2)
