from __future__ import annotations

import ctypes.util
import sys
from types import SimpleNamespace

import pytest

from sora_jax.worlds import gl


def test_the_openGL_library_is_chosen_and_the_users_choice_stands(monkeypatch):
    have = {"EGL": "libEGL.so.1", "OSMesa": "libOSMesa.so.8"}
    monkeypatch.setattr(ctypes.util, "find_library", have.get)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    assert gl.backend() == "egl"
    for given in ("osmesa", "glfw"):
        monkeypatch.setenv("MUJOCO_GL", given)
        assert gl.backend() == given
    monkeypatch.delenv("MUJOCO_GL")
    del have["EGL"]
    assert gl.backend() == "osmesa"
    monkeypatch.setenv("MUJOCO_GL", "egl")
    with pytest.raises(gl.No3DError, match="unset MUJOCO_GL"):
        gl.backend()
    monkeypatch.delenv("MUJOCO_GL")
    have.clear()
    with pytest.raises(gl.No3DError, match=r"libegl1 libgl1-mesa-dri.*libosmesa6") as raised:
        gl.backend()
    assert "\n" not in str(raised.value)


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: f"lib{name}.so")
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(gl.No3DError, match=r"pip install .*worlds3d") as raised:
        gl.load()
    assert "\n" not in str(raised.value)


def test_a_library_that_gives_no_context_is_said_in_one_line(monkeypatch):
    def refuse(*_):
        raise RuntimeError("Cannot initialize\n an EGL device display")

    monkeypatch.setattr(gl, "load", lambda: SimpleNamespace(Renderer=refuse))
    with pytest.raises(gl.No3DError, match=r"Cannot initialize an EGL.*libgl1-mesa-dri") as raised:
        gl.renderer(None, height=8, width=8)
    assert "\n" not in str(raised.value)
