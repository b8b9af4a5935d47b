"""Rows are written once each, whatever happened to the process before."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sora_jax.training import log


def rows(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_resume_drops_rows_past_the_restored_step(tmp_path):
    with log.Log(tmp_path, total_steps=9, tensorboard=False, terminal=False) as first:
        for step in (2, 4, 6):
            first.values(step, {"loss": 1.0 / step})
    with log.Log(tmp_path, start_step=4, total_steps=9, tensorboard=False, terminal=False) as second:
        second.values(6, {"loss": 7.0})
    assert rows(tmp_path) == [{"step": 2, "loss": 0.5}, {"step": 4, "loss": 0.25}, {"step": 6, "loss": 7.0}]


def test_unfinished_last_row_is_dropped_and_others_are_not(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    log.drop_rows_after(path, step=9)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    path.write_text('{"step": 1}\nhello\n{"step": 3}\n')
    with pytest.raises(ValueError, match="line 2 is not JSON: 'hello'"):
        log.drop_rows_after(path, step=9)


def test_not_finite_is_null(tmp_path):
    with log.Log(tmp_path, total_steps=9, tensorboard=False, terminal=False) as sink:
        sink.values(1, {"loss": float("nan"), "norm": np.float32(2.0)})
    assert rows(tmp_path) == [{"step": 1, "loss": None, "norm": 2.0}]


def test_tensorboard_has_curves_and_strips(tmp_path):
    with log.Log(tmp_path, total_steps=9, terminal=False) as sink:
        sink.values(1, {"loss": 0.5})
        sink.image(1, "strip", np.zeros((4, 12, 3), np.uint8))
        with pytest.raises(ValueError, match="give uint8"):
            sink.image(1, "strip", np.zeros((4, 12, 3)))
    (file,) = (tmp_path / "tensorboard").iterdir()
    written = file.read_bytes()
    assert b"loss" in written and b"strip" in written and b"PNG" in written


def test_terminal_has_the_row(tmp_path, capsys):
    with log.Log(tmp_path, total_steps=9, tensorboard=False) as sink:
        sink.values(3, {"loss": 0.123456})
        sink.progress(3)
    assert "step 3  loss 0.1235" in capsys.readouterr().out
