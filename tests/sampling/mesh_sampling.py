"""A script for 8 fake CPU devices: the shipped model samples over meshes, and its autoencoder encodes.

    python mesh_sampling.py OUT.npz [MESH ...]

Writes the latents `"MESH/request"` of `requests()`, `"MESH/surprise"` of the first, `"MESH/cut"` (mesh axes
that cut a parameter) and `"encoded/clip"`, of `clips()`. A mesh is written `fsdp=2,context=4`, or with
the attention it runs behind it.
"""

from __future__ import annotations

import dataclasses
import sys

import jax
import numpy as np

from sora_jax import build, types
from sora_jax.sampling import generate
from sora_jax.sampling.request import Generator, Request
from sora_jax.sharding import mesh as mesh_lib

MODEL = "gpu-128px"


def requests() -> list[Request]:
    """Of three sizes in three rows: a clip, an image, and two shots with guidance by parts."""
    size = {"height": 48, "width": 48, "fps": 8.0}
    return [
        Request(prompt="a red circle moving left", frames=9, seed=1, **size),
        Request(prompt="two blue squares", frames=1, seed=2, **{**size, "width": 64}),
        Request(prompt="a bar [0.5s] a bar moving up", frames=9, seed=3, apart=1.5, **size),
    ]


def sample(generator: Generator, settings: generate.Settings) -> list[np.ndarray]:
    """The latents of `requests()`."""
    return generate.sample_latents(
        generator, requests(), settings=dataclasses.replace(settings, steps=3), rows=2
    )


def surprise(generator: Generator, settings: generate.Settings) -> float:
    """Of the first of `requests()`: what seeds are chosen by."""
    first = requests()[0]
    settings = dataclasses.replace(settings, steps=3)
    ask = {"settings": settings, "judge": True}
    return generate.sample_rows(generator, [first], [generator.grid(first)], [[0]], **ask).surprise[0]


def clips() -> list[types.Clip]:
    """More than one chunk of one size, and one clip of another."""
    draw = np.random.default_rng(0)
    shapes = [(1, 16, 16, 3)] * 19 + [(5, 16, 16, 3)]
    videos = [draw.integers(0, 256, shape, np.uint8) for shape in shapes]
    return [types.Clip(video=v, fps=8.0, captions={"short": "x"}, id=str(n)) for n, v in enumerate(videos)]


def main() -> None:
    out, *names = sys.argv[1:]
    found = {}
    for name in names:
        sides, _, attention = name.partition(" ")
        mesh = mesh_lib.make_mesh(**mesh_lib.parse(sides), devices=jax.devices())
        generator, settings = build.load_generator(MODEL, attention=attention or "xla", mesh=mesh)  # type: ignore[arg-type]
        found |= {f"{name}/{k}": latents for k, latents in enumerate(sample(generator, settings))}
        found[f"{name}/surprise"] = np.float64(surprise(generator, settings))
        specs = [leaf.sharding.spec for leaf in jax.tree.leaves(generator.params)]
        found[f"{name}/cut"] = np.array(
            sorted({axis for spec in specs for axis in spec if axis and mesh.shape[axis] > 1})
        )
    encoder = build.load_autoencoder(MODEL)
    found |= {f"encoded/{k}": clip.latents for k, clip in enumerate(encoder.encode_clips(clips()))}
    np.savez(out, **found)


if __name__ == "__main__":
    main()
