"""What changes a video: P6, P12, M9."""

from __future__ import annotations

import cv2
import numpy as np

from sora_jax.evaluate.modes.bench import (
    CONTINUED,
    GIVEN,
    SIDE,
    STRENGTHS,
    Bench,
    Found,
    prompt_of,
    said,
)
from sora_jax.evaluation import modes as measures
from sora_jax.evaluation import text_alignment
from sora_jax.sampling import create, edit
from sora_jax.worlds.parse import parse_prompt


def editing(bench: Bench) -> Found:
    """P6: from nothing changed to the prompt's own video."""
    clips, generator = bench.clips, bench.generator
    other = {"red": "blue", "blue": "red"}
    found: Found = {"places kept, world units apart": {}, "colour of the prompt": {}, "direction kept": {}}
    prompts, facts = [], []
    for c in clips:
        assert c.state is not None
        body = c.state.bodies[0]
        new = other.get(body.color, "red")
        facts.append(parse_prompt(f"a {new} {body.shape}"))
        prompts.append(prompt_of(c).replace(body.color, new))
    shown = []
    for strength in STRENGTHS:
        made = bench.frames(
            bench.make(
                [
                    edit.edit(generator, v, prompt=p, strength=strength, seed=k)
                    for k, (v, p) in enumerate(zip(bench.given(), prompts, strict=True))
                ]
            )
        )
        name = f"strength {strength:g}"
        found["places kept, world units apart"][name] = [
            measures.places_apart(f, c.video[:GIVEN], fps=c.fps) for f, c in zip(made, clips, strict=True)
        ]
        table = text_alignment.score_prompts(made, facts, fps=[c.fps for c in clips])
        found["colour of the prompt"][name] = table["color"].tolist()
        found["direction kept"][name] = said(clips, made, "direction")
        shown.append((f"{name}: {prompts[0]}", made[0]))
    bench.sheet("edit", shown)
    return found


def painting(bench: Bench) -> Found:
    """Inpainting half of the frame, and outpainting to twice the width."""
    clips, generator = bench.clips, bench.generator
    mask = np.zeros((GIVEN, SIDE, SIDE), bool)
    mask[:, :, SIDE // 2 :] = True
    given = bench.given()
    inside = bench.frames(
        bench.make(
            [
                edit.inpaint(generator, v, mask, prompt=prompt_of(c), seed=k)
                for k, (v, c) in enumerate(zip(given, clips, strict=True))
            ]
        )
    )
    around = bench.frames(
        bench.make(
            [
                edit.outpaint(
                    generator,
                    c.video[:GIVEN],
                    fps=c.fps,
                    height=SIDE,
                    width=2 * SIDE,
                    left=SIDE // 2,
                    prompt=prompt_of(c),
                    seed=k,
                )
                for k, c in enumerate(clips)
            ]
        )
    )
    floor = bench.frames(given)
    bench.sheet("inpaint", [(prompt_of(c), f) for c, f in list(zip(clips, inside, strict=True))[:4]])
    bench.sheet("outpaint", [(prompt_of(c), f) for c, f in list(zip(clips, around, strict=True))[:4]])
    # Away from the border of what is known, which the autoencoder's own reach blurs.
    half, edge = slice(0, SIDE // 2 - 8), slice(SIDE // 2 + 8, 3 * SIDE // 2 - 8)
    middle = slice(8, SIDE - 8)
    return {
        "PSNR of the known half, dB": {
            "inpaint": [
                measures.psnr(f[:, :, half], c.video[:GIVEN, :, half])
                for f, c in zip(inside, clips, strict=True)
            ],
            "reconstruction": [
                measures.psnr(f[:, :, half], c.video[:GIVEN, :, half])
                for f, c in zip(floor, clips, strict=True)
            ],
        },
        "PSNR of the old frame, dB": {
            "outpaint": [
                measures.psnr(f[:, :, edge], c.video[:GIVEN, :, middle])
                for f, c in zip(around, clips, strict=True)
            ],
            "reconstruction": [
                measures.psnr(f[:, :, middle], c.video[:GIVEN, :, middle])
                for f, c in zip(floor, clips, strict=True)
            ],
        },
        "one object, frames": {
            name: [measures.coherent(f, fps=c.fps, objects=1) for f, c in zip(frames, clips, strict=True)]
            for name, frames in {"inpaint": inside, "outpaint": around, "reconstruction": floor}.items()
        },
    }


def filling(bench: Bench) -> Found:
    """P12: the first frame and the last four are given, twelve between them are filled in."""
    clips, generator = bench.clips, bench.generator
    at = (0, 13, 14, 15, 16)
    jobs = [
        edit.keyframes(
            generator, {n: c.video[n] for n in at}, prompt=prompt_of(c), frames=GIVEN, fps=c.fps, seed=k
        )
        for k, c in enumerate(clips)
    ]
    made = {name: bench.frames(bench.changed(changes).make(jobs)) for name, changes in CONTINUED.items()}
    faded = [
        np.concatenate([c.video[:1], measures.cross_fade(c.video[:1], c.video[13:], 12), c.video[13:GIVEN]])
        for c in clips
    ]
    floor = [bench.through(c.video[:GIVEN], c.fps) for c in clips]
    bench.sheet("keyframes", [(prompt_of(c), f) for c, f in list(zip(clips, made["mode"], strict=True))[:6]])
    between, known = slice(1, 13), list(at)
    ways = {**made, "cross-fade": faded, "reconstruction": floor}
    return {
        "PSNR of the frames between, dB": {
            name: [measures.psnr(f[between], c.video[between]) for f, c in zip(frames, clips, strict=True)]
            for name, frames in ways.items()
        },
        "object between from the truth, world units": {
            name: [
                measures.places_apart(f[between], c.video[between], fps=c.fps)
                for f, c in zip(frames, clips, strict=True)
            ]
            for name, frames in ways.items()
        },
        "PSNR of the given frames, dB": {
            name: [measures.psnr(f[known], c.video[known]) for f, c in zip(ways[name], clips, strict=True)]
            for name in ("mode", "reconstruction")
        },
    }


def drafts(bench: Bench) -> Found:
    """M9: a draft drawn again at twice the size keeps its layout."""
    clips, generator = bench.clips[: max(2, len(bench.clips) // 2)], bench.generator
    size = {"frames": GIVEN, "height": SIDE, "width": SIDE}
    small = bench.frames(
        bench.make(
            [
                create.text_to_video(generator, prompt=prompt_of(c), fps=c.fps, seed=k, **size)
                for k, c in enumerate(clips)
            ]
        )
    )
    large = bench.frames(
        bench.make(
            [
                edit.upscale(
                    generator, f, fps=c.fps, height=2 * SIDE, width=2 * SIDE, prompt=prompt_of(c), seed=k
                )
                for k, (f, c) in enumerate(zip(small, clips, strict=True))
            ]
        )
    )
    free = bench.frames(
        bench.make(
            [
                create.text_to_video(
                    generator,
                    prompt=prompt_of(c),
                    fps=c.fps,
                    seed=k,
                    frames=GIVEN,
                    height=2 * SIDE,
                    width=2 * SIDE,
                )
                for k, c in enumerate(clips)
            ]
        )
    )
    resized = [
        np.stack([cv2.resize(x, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC) for x in f])
        for f in small
    ]
    bench.sheet(
        "upscale",
        [
            row
            for k in range(min(3, len(clips)))
            for row in ((f"draft: {prompt_of(clips[k])}", small[k]), ("large", large[k]))
        ],
    )
    ways = {"mode": large, "same seed, no draft": free, "draft resized": resized}
    return {
        "object from the draft's, world units": {
            name: [
                measures.places_apart(f, s, fps=c.fps) for f, s, c in zip(frames, small, clips, strict=True)
            ]
            for name, frames in ways.items()
        },
        "shape right": {name: said(clips, frames, "shape") for name, frames in ways.items()},
    }
