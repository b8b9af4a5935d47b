"""Captions of 3-D clips, said from the exact state and so true by construction; they name the camera."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sora_jax.types import SceneState3D
from sora_jax.worlds import scene3d as scene_lib

MOST_BYTES_3D = 250
NOUNS = {"sphere": "ball", "cube": "cube", "cylinder": "cylinder", "capsule": "capsule"}
FALLEN = 0.1  # metres: an object that sinks by more and does not touch the floor at first has fallen
MOVED_3D = 0.15  # metres


class _Voice:
    """Picks among wordings with the clip's own stream."""

    def __init__(self, rng: np.random.Generator):
        self._rng = rng

    def of(self, options: Sequence[str]) -> str:
        return options[int(self._rng.random() * len(options))]


def captions_3d(state: SceneState3D, rng: np.random.Generator) -> dict[str, str]:
    """The "short" and "descriptive" captions of a clip; ASCII, at most `MOST_BYTES_3D` bytes each."""
    voice = _Voice(rng)
    return {"short": _short(state, voice), "descriptive": _descriptive(state, voice)}


def speed_word_3d(state: SceneState3D) -> str | None:
    """ "slow", "medium" or "fast" by the tables of `scene3d`, or None between the classes or at rest."""
    classes = scene_lib.DOLLY_SPEEDS if state.camera_move == "dolly" else scene_lib.TURN_SPEEDS
    for word, (low, high) in classes.items():
        if low <= state.camera_speed <= high:
            return word
    return None


def camera_words(state: SceneState3D, around: str, voice: _Voice, *, finite: bool = True) -> str:
    """ "the camera orbits to the left around a red ball"; `around` is what it films."""
    move, side = state.camera_move, state.camera_side
    match move:
        case "fixed":
            return "the camera stays still" if finite else "filmed by a fixed camera"
        case "orbit":
            verb, where = ("orbits", "orbiting"), f"to the {side} around {around}"
        case "pan":
            verb, where = ("pans", "panning"), f"to the {side} across {around}"
        case "dolly" if side == "forward":
            verb, where = ("dollies", "dollying"), f"forward towards {around}"
        case "dolly":
            verb, where = ("dollies", "dollying"), f"back away from {around}"
        case _:
            raise ValueError(f"camera move {move!r} has no words")
    how = {"slow": ("slowly ",), "fast": ("quickly ", "fast ")}.get(speed_word_3d(state) or "", ("",))
    back = voice.of((" and comes back", " and returns")) if state.camera_returns else ""
    adverb = voice.of(how).strip()
    lead = f"the camera {verb[0]}" if finite else f"the camera {verb[1]}"
    return f"{lead} {where}{back}" if not adverb else f"{lead} {adverb} {where}{back}"


def _noun(state: SceneState3D, k: int, *, size: bool, definite: bool = False) -> str:
    body = state.bodies[k]
    words = f"{body.size} {body.color}" if size else body.color
    name = f"{words} {NOUNS[body.shape]}"
    if definite:
        return f"the {name}"
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _list(parts: Sequence[str]) -> str:
    if len(parts) < 3:
        return " and ".join(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1]


def actions(state: SceneState3D) -> list[tuple[int, str, int]]:
    """What objects do, (object, verb, object or -1): "falls", "rolls down a ramp", "slides ...", "hits"."""
    found: list[tuple[int, str, int]] = []
    ramp = state.fixtures.index("ramp") if "ramp" in state.fixtures else None
    floor = state.fixtures.index("floor")
    for k, body in enumerate(state.bodies):
        place = state.position[:, k]
        moved = float(np.linalg.norm(place[-1] - place[0]))
        if ramp is not None and state.fixture_contact[0, k, ramp] and moved > MOVED_3D:
            found.append((k, "rolls down a ramp" if body.shape == "sphere" else "slides down a ramp", -1))
        elif not state.fixture_contact[0, k, floor] and place[0, 2] - place[:, 2].min() > FALLEN:
            lands = state.fixture_contact[:, k, floor].any()
            found.append((k, "falls to the floor" if lands else "falls", -1))
    hits = [(a, "hits", b) for _, verb, a, b in state.events if verb == "hits"]
    rolling = [
        (k, "rolls over the floor", -1)
        for k, body in enumerate(state.bodies)
        if body.shape == "sphere" and np.linalg.norm(state.velocity[0, k, :2]) > MOVED_3D
    ]
    return found + (hits[:1] or rolling)


def _act(state: SceneState3D, action: tuple[int, str, int], *, size: bool) -> str:
    k, verb, other = action
    said = f"{_noun(state, k, size=size)} {verb}"
    return said if other < 0 else f"{said} {_noun(state, other, size=size)}"


def _short(state: SceneState3D, voice: _Voice) -> str:
    doing = actions(state)
    everything = _list([_noun(state, k, size=False) for k in range(len(state.bodies))])
    if not doing:
        return camera_words(state, everything, voice)
    said = _list([_act(state, a, size=False) for a in doing[:2]])
    them = "it" if len(state.bodies) == 1 else "them"
    if state.camera_move == "fixed":
        return (
            said if voice.of(("plain", "told")) == "plain" else f"{said}, {camera_words(state, them, voice)}"
        )
    return f"{said} while {camera_words(state, them, voice)}"


def _descriptive(state: SceneState3D, voice: _Voice) -> str:
    doing = actions(state)
    place = voice.of(("In a room with textured walls", "In a room", "Inside a textured room"))
    acting = {k for a in doing for k in (a[0], a[2])}
    resting = [_noun(state, k, size=True) for k in range(len(state.bodies)) if k not in acting]
    sentences = []
    if doing:
        sentences.append(f"{place}, {_list([_act(state, a, size=True) for a in doing])}.")
    if resting:
        be = "is" if len(resting) == 1 else "are"
        lead = "" if doing else f"{place}, "
        said = f"{lead}{_list(resting)} {be} on the floor."
        sentences.append(said[0].upper() + said[1:])
    them = "it" if len(state.bodies) == 1 else "them"
    last = camera_words(state, them, voice)
    sentences.append(last[0].upper() + last[1:] + ".")
    return " ".join(sentences)
