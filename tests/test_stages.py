"""Stages: skipped when finished, bounded by the clock, stopped by a failure, told what runs."""

from __future__ import annotations

import pytest

from sora_jax import stages
from sora_jax.stages import Stage


@pytest.fixture
def pack(tmp_path):
    """`pack(name)` is a stage that writes name.zip."""
    (tmp_path / "page.txt").write_text("page")

    def make(name: str) -> Stage:
        result = tmp_path / f"{name}.zip"
        return Stage(name=name, arguments=["zipfile", "-c", str(result), "page.txt"], result=result)

    return make


def test_what_is_finished_is_skipped_and_the_rest_runs_in_order(pack, tmp_path, capfd):
    first, second = pack("first"), pack("second")
    assert stages.run([first, second], root=tmp_path, until="first") == 0
    assert first.result.exists() and not second.result.exists()
    assert stages.run([first, second], root=tmp_path) == 0
    assert second.result.exists()
    said = capfd.readouterr().out
    assert said.count("python -m zipfile") == 2 and f"first: finished ({first.result})" in said


def test_a_failure_ends_the_run_with_its_code(pack, tmp_path):
    later = pack("later")
    bad = Stage(name="bad", arguments=["no_module_has_this_name"], result=tmp_path / "bad")
    assert stages.run([bad, later], root=tmp_path) == 1
    assert not later.result.exists()


def test_nothing_is_begun_after_the_time_is_up_and_a_missing_result_is_told(pack, tmp_path, capfd):
    assert stages.run([pack("first")], root=tmp_path, minutes=0.1) == stages.INTERRUPTED
    assert "first: not begun" in capfd.readouterr().out
    idle = Stage(name="idle", arguments=["this"], result=tmp_path / "never")
    assert stages.run([idle], root=tmp_path) == stages.INTERRUPTED
    assert "idle: stopped by the clock" in capfd.readouterr().out
