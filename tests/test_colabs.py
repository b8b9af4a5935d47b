"""The notebooks run from top to bottom, import what they show, and define no logic of their own."""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "colabs").glob("*.ipynb"))


def cells(path: Path) -> list[str]:
    notebook = json.loads(path.read_text())
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_defines_no_logic(path):
    tree = ast.parse("\n".join(cells(path)))
    defined = [
        n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.For | ast.While)
    ]
    assert not defined


def run(stem: str, *, steps: int) -> dict:
    """All names of a notebook run at so few steps: the settings are the only thing changed."""
    (path,) = [p for p in NOTEBOOKS if p.stem == stem]
    names: dict = {}
    for source in cells(path):
        exec(compile(source, str(path), "exec"), names)
        if "settings" in names and names["settings"].steps > steps:
            names["settings"] = names["settings"].__class__(steps=steps)
    return names


def test_the_text_to_video_notebook_runs_on_the_shipped_model():
    names = run("00_text_to_video", steps=2)
    shapes = [video.shape for video in names["videos"]]
    assert shapes == [(17, 64, 64, 3), (1, 64, 64, 3), (9, 64, 96, 3)]
    assert names["sheet"].ndim == 3 and set(names["table"]["count"]) <= {0.0, 1.0}


def test_the_prompting_notebook_runs_every_mode_on_the_shipped_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run("01_prompting", steps=1)
    shapes = {name: [v.shape[:3] for v in names[name]] for name in ("begun", "moved", "changed")}
    assert shapes["begun"] == [(17, 64, 64), (17, 64, 64), (33, 64, 64)]
    assert shapes["moved"] == [(17, 64, 64), (29, 64, 64), (29, 64, 64), (32, 64, 64), (49, 64, 64)]
    assert shapes["changed"] == [(17, 64, 64), (17, 64, 64), (17, 64, 128), (17, 64, 64), (17, 128, 128)]
    assert names["long"].shape == (81, 64, 64, 3)


def test_the_scaling_notebook_fits_predicts_and_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run("02_scaling_law", steps=1)
    answer = names["answer"]
    assert (
        answer["C"] == 1e14
        and answer["steps"] > 1000
        and answer["command"].startswith("python -m sora_jax.train")
    )
    rows = (Path(names["workdir"]) / "runs.csv").read_text().splitlines()
    assert len(rows) == 5 and rows[0].startswith("name,arm,budget,C,N,N_total,D,loss,standard_error")
