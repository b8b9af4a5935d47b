"""MuJoCo and an off-screen OpenGL context, or one line that says what to install.

MuJoCo reads `MUJOCO_GL` once, when it is imported: so it is imported here, after the choice. What the user
set stands; else EGL is taken where its library is found, else OSMesa.
"""

from __future__ import annotations

import ctypes.util
import importlib
import os
import sys
from typing import Any

LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}


class No3DError(ImportError):
    """What the 3-D worlds need is not installed; the message says what to install."""


def backend() -> str:
    """The value of `MUJOCO_GL` that is in force: the user's, else "egl" or "osmesa" by what is installed.

    Raises:
      No3DError: no library of off-screen OpenGL is found.
    """
    given = os.environ.get("MUJOCO_GL", "").strip().lower()
    if given in LIBRARIES and ctypes.util.find_library(LIBRARIES[given]) is None:
        raise No3DError(
            f"MUJOCO_GL={given} but lib{LIBRARIES[given]} is not installed: {_apt(given)}, or unset MUJOCO_GL"
        )
    if given or sys.platform != "linux":  # elsewhere MuJoCo's own choice needs no library to be added
        return given
    for name, library in LIBRARIES.items():
        if ctypes.util.find_library(library) is not None:
            return name
    raise No3DError(f"no off-screen OpenGL for the 3-D worlds: {_apt('egl')} (or {_apt('osmesa')})")


def _apt(name: str) -> str:
    packages = {"egl": "libegl1 libgl1-mesa-dri", "osmesa": "libosmesa6"}
    return f"apt-get install {packages[name]}"


def load() -> Any:
    """The module `mujoco`, set to render off-screen.

    Raises:
      No3DError: the package or an OpenGL library is missing.
    """
    name = backend()
    if name:
        os.environ["MUJOCO_GL"] = name
    try:
        return importlib.import_module("mujoco")
    except ImportError as error:
        raise No3DError(
            f"the 3-D worlds need MuJoCo ({error}): pip install 'sora_jax[worlds3d]' or pip install mujoco"
        ) from error


def renderer(model: Any, *, height: int, width: int) -> Any:
    """A `mujoco.Renderer` of `model`; close it, or use it in a `with`.

    Raises:
      No3DError: the OpenGL library is there but gives no context.
    """
    mujoco = load()
    try:
        return mujoco.Renderer(model, height, width)
    except (ImportError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise No3DError(
            f"OpenGL ({os.environ.get('MUJOCO_GL')!r}) gives no context ({reason}): {_apt('egl')}, or"
            f" {_apt('osmesa')} and MUJOCO_GL=osmesa"
        ) from error
