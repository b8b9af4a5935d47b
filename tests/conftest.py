"""Shared set-up of the tests: CPU only, strict shapes, a shared compile cache, scripts on eight devices."""

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
# What the tests run is tiny and compiled once: LLVM's optimisations take more time than they give back.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()

import jax
import pytest

ROOT = Path(__file__).parent.parent

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def on_eight_devices():
    """What a script prints on eight fake devices: f(script, *arguments, seconds=) -> its last line."""

    def run(script: Path, *arguments: object, seconds: float) -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        environment["XLA_FLAGS"] += " --xla_force_host_platform_device_count=8"
        command = [sys.executable, str(script), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return (done.stdout.splitlines() or [""])[-1]

    return run
