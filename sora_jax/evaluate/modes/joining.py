"""What joins two ends: P5, P7."""

from __future__ import annotations

import dataclasses

import numpy as np

from sora_jax.evaluate.modes.bench import (
    CONTINUED,
    GIVEN,
    MORE,
    Bench,
    Found,
)
from sora_jax.evaluation import modes as measures
from sora_jax.sampling import connect


def loop(bench: Bench) -> Found:
    """P5: the seam is no larger a step than the others."""
    clips, generator = bench.clips, bench.generator
    prompts = [f"a {c.state.bodies[0].color} {c.state.bodies[0].shape}" for c in clips if c.state]
    jobs = [
        connect.loop(generator, v, prompt=p, latents=MORE, seed=k)
        for k, (v, p) in enumerate(zip(bench.given(), prompts, strict=True))
    ]
    made = {name: bench.frames(bench.changed(CONTINUED[name]).make(jobs)) for name in CONTINUED}
    floor = [bench.through(c.video[:GIVEN], c.fps) for c in clips]
    faded = [np.concatenate([f, measures.cross_fade(f, f, 4 * MORE - 1)]) for f in floor]
    ways = {**made, "cross-fade": faded, "played again": floor}
    bench.sheet("loop", [(p, f) for p, f in list(zip(prompts, made["mode"], strict=True))[:6]])
    return {
        "seam / median step": {name: [measures.seam(f) for f in frames] for name, frames in ways.items()},
        "largest / mean step": {
            name: [measures.largest_step(np.concatenate([f, f[:1]])) for f in frames]
            for name, frames in ways.items()
        },
        "one object, frames": {
            name: [measures.coherent(f, fps=c.fps, objects=1) for f, c in zip(frames, clips, strict=True)]
            for name, frames in ways.items()
        },
    }


def connecting(bench: Bench) -> Found:
    """P7: both ends are kept, and there is no break on the way."""
    clips, generator = bench.clips, bench.generator
    pairs = [(k, (k + 1) % len(clips)) for k in range(len(clips))]
    # Frames of one rate: a video is as it is, whatever rate it is said to have.
    given = [dataclasses.replace(v, fps=8.0) for v in bench.given()]
    floor = bench.frames(given)

    def prompt(i: int, j: int) -> str:
        looks = [clips[n].state.bodies[0] for n in (i, j)]  # type: ignore[union-attr]
        return " turns into ".join(f"a {b.color} {b.shape}" for b in looks)

    jobs = [
        connect.connect(generator, given[i], given[j], prompt=prompt(i, j), latents=MORE, seed=i)
        for i, j in pairs
    ]
    ways = {name: bench.changed(CONTINUED[name]) for name in CONTINUED}
    made = {"mode": bench.frames(ways["mode"].best(jobs))}
    made |= {
        "one seed": bench.frames(ways["mode"].make(jobs)),
        **{name: bench.frames(way.make(jobs)) for name, way in ways.items() if name != "mode"},
    }
    gap = 4 * MORE
    faded = [
        np.concatenate([floor[i], measures.cross_fade(floor[i], floor[j], gap), floor[j]]) for i, j in pairs
    ]
    cut = [np.concatenate([floor[i], floor[j]]) for i, j in pairs]
    ramped = 4  # frames of the latent of each side that may give way
    bench.sheet("connect", [(prompt(*p), f) for p, f in list(zip(pairs, made["mode"], strict=True))[:6]])
    return {
        "PSNR of the first end, dB": {
            **{
                name: [
                    measures.psnr(f[: GIVEN - ramped], clips[i].video[: GIVEN - ramped])
                    for f, (i, _) in zip(frames, pairs, strict=True)
                ]
                for name, frames in made.items()
            },
            "reconstruction": [
                measures.psnr(floor[i][: GIVEN - ramped], clips[i].video[: GIVEN - ramped]) for i, _ in pairs
            ],
        },
        "PSNR of the last end, dB": {
            **{
                name: [
                    measures.psnr(f[-(GIVEN - 1 - ramped) :], clips[j].video[1 + ramped : GIVEN])
                    for f, (_, j) in zip(frames, pairs, strict=True)
                ]
                for name, frames in made.items()
            },
            "reconstruction": [
                measures.psnr(floor[j][1 + ramped :], clips[j].video[1 + ramped : GIVEN]) for _, j in pairs
            ],
        },
        "largest / mean step": {
            name: [measures.largest_step(f) for f in frames]
            for name, frames in {**made, "cross-fade": faded, "cut": cut}.items()
        },
        "one object, frames between": {
            name: [measures.coherent(f[GIVEN : GIVEN + gap], fps=8.0, objects=1) for f in frames]
            for name, frames in {**made, "cross-fade": faded}.items()
        },
    }
