"""Who may import whom: a file imports only from lower layers, or inside its own room (ARCHITECTURE.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "sora_jax"

# Rooms are folders or single files of sora_jax/; everything in the package has to stand here.
LAYERS = {
    "types": 0,
    "rng": 0,
    "tree": 0,
    "patches": 1,
    "text_bytes": 1,
    "weights": 1,
    "folder": 2,
    "diffusion": 1,
    "nn": 2,
    "data": 2,
    "worlds": 2,
    "models": 3,
    "sharding": 3,
    "training": 4,
    "sampling": 4,
    "evaluation": 4,
    "build": 5,
    "command": 5,
    "stages": 5,
    "serving": 5,
    "train": 6,
    "sample": 6,
    "evaluate": 6,
    "scaling": 6,
    "plan": 6,
    "make_latents": 6,
    "export": 6,
    "serve": 6,
}

# Rooms of data rather than code.
NO_CODE = {"pretrained"}


def files() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(source: str, *, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """(line, room) of everything of sora_jax that a file imports, wherever in the file; relative imports too.

    `package` are the names below `sora_jax` of the package that the file lies in.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            below = ["sora_jax", *package][: len(package) + 2 - node.level] if node.level else []
            base = below + (node.module.split(".") if node.module else [])
            names = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "sora_jax" and len(name) > 1:
                yield node.lineno, name[1]


def violations(path: Path) -> list[str]:
    room, found = room_of(path), []
    package = path.relative_to(ROOT).parts[:-1]
    for line, other in imports_of(path.read_text(), package=package):
        if other in (room, "types"):  # everybody may name the containers, layer 0 included
            continue
        if other not in LAYERS:
            found.append(
                f"{path}:{line}: {other} has no layer: give it one in {__file__} and ARCHITECTURE.md"
            )
        elif LAYERS[other] >= LAYERS[room]:
            found.append(f"{path}:{line}: {room} ({LAYERS[room]}) imports {other} ({LAYERS[other]})")
    return found


def test_every_room_has_a_layer():
    rooms = {room_of(path) for path in files()} - NO_CODE
    assert rooms <= LAYERS.keys(), f"no layer for {sorted(rooms - LAYERS.keys())}: see LAYERS in {__file__}"


def test_imports_point_down():
    found = [line for path in files() for line in violations(path)]
    assert not found, "\n".join(found)


def test_only_build_reads_config_dict():
    readers = [
        str(path)
        for path in files()
        if "ml_collections" in path.read_text() and room_of(path) not in ("build", "command")
    ]
    assert not readers, f"only build (and the command line that makes it) reads a ConfigDict: {readers}"


def test_package_knows_neither_experiments_nor_tests():
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"experiments", "tests", "configs"}, path


@pytest.mark.parametrize(
    ("source", "rooms"),
    [
        ("import sora_jax.models.text", ["models"]),
        ("from sora_jax import rng, tree", ["rng", "tree"]),
        ("from sora_jax.nn.layers import Norm", ["nn"]),
        ("def f():\n    from sora_jax.training import loop", ["training"]),
        ("from . import scene", ["worlds"]),
        ("from ..models import text", ["models"]),
        ("from .. import build", ["build"]),
        ("import jax, sora_jaxx.models\nfrom sora_jaxx.nn import x", []),
    ],
)
def test_imports_are_seen(source, rooms):
    assert [room for _, room in imports_of(source, package=("worlds",))] == rooms
