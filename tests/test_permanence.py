"""Experiment 007: two models of equal FLOPs, and what is asked of a thing behind a screen."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from sora_jax.worlds.bench.source import BenchSource

FILE = Path(__file__).parents[1] / "experiments/007_permanence/run.py"


@pytest.fixture(scope="module")
def experiment():
    spec = importlib.util.spec_from_file_location("permanence", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_models_have_the_same_flops(experiment):
    """9 latents of 4 x 4 patches: a token sees 144 tokens, or 16 and 9 in turn."""
    steps = experiment.step_counts("cpu")
    flops = {
        name: steps[name] * experiment.training_flops("cpu", attended=attended)
        for name, attended in (("full", 144), ("factorised", 12.5))
    }
    assert 1.1 < steps["factorised"] / steps["full"] < 1.3
    assert abs(flops["factorised"] / flops["full"] - 1) < 1e-3


def test_the_truth_hides_things_and_a_held_frame_does_not(experiment):
    source = BenchSource("occlusion", seed=5, length=8, height=64, width=64)
    clips = [source[k] for k in range(8)]
    asked = [experiment.around(c.video, c.state, fps=c.fps) for c in clips]
    still = [experiment.around(experiment.held(c.video), c.state, fps=c.fps) for c in clips]
    hidden, never = ([one["hidden while behind"] for one in found] for found in (asked, still))
    assert np.nanmin(hidden) > 0.9 and np.nanmax(never) == 0 and np.isfinite(hidden).all()
    before = [one["shape before it hides"] for one in asked]
    assert np.nanmin(before) > 0.9 and np.isfinite(before).sum() == 2  # others are half hidden by then
