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


def test_the_text_to_video_notebook_runs_on_the_shipped_model():
    """At fewer steps than it shows: the settings are the only thing changed."""
    (path,) = [p for p in NOTEBOOKS if p.stem == "00_text_to_video"]
    names: dict = {}
    for source in cells(path):
        exec(compile(source, str(path), "exec"), names)
        if "settings" in names and names["settings"].steps > 2:
            names["settings"] = names["settings"].__class__(steps=2)
    shapes = [video.shape for video in names["videos"]]
    assert shapes == [(17, 64, 64, 3), (1, 64, 64, 3), (9, 64, 96, 3)]
    assert names["sheet"].ndim == 3 and set(names["table"]["count"]) <= {0.0, 1.0}
