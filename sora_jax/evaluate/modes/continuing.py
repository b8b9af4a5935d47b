"""What goes on from an image or a video: P2, P3, P4, P9, E3."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sora_jax.evaluate.modes.bench import (
    CONTINUED,
    GIVEN,
    MORE,
    SIDE,
    WHOLE,
    Bench,
    Found,
    prompt_of,
    said,
)
from sora_jax.evaluation import modes as measures
from sora_jax.sampling import create, extend, stream
from sora_jax.sampling.request import TRIES
from sora_jax.worlds.scene import PALETTE

# How a long video is made: as the command does it, its first window the best of some seeds; of one seed; the
# first latent out of view.
LONG: dict[str, dict[str, int]] = {
    "mode": {"tries": TRIES},
    "one seed": {},
    "without memory": {"tries": TRIES},
}


def animate(bench: Bench) -> Found:
    """P2: the first frame comes back, and it moves as it should."""
    clips, generator = bench.clips, bench.generator
    made = bench.frames(
        bench.make(
            [
                create.animate(generator, c.video[0], prompt=prompt_of(c), frames=GIVEN, fps=c.fps, seed=k)
                for k, c in enumerate(clips)
            ]
        )
    )
    truth = [c.video[:GIVEN] for c in clips]
    floor = [bench.through(frames, c.fps) for frames, c in zip(truth, clips, strict=True)]
    static = [np.repeat(frames[:1], GIVEN, axis=0) for frames in floor]
    bench.sheet("animate", [(prompt_of(c), f) for c, f in list(zip(clips, made, strict=True))[:6]])
    ways = {"mode": made, "held frame": static, "reconstruction": floor}
    return {
        "PSNR of the first frame, dB": {
            name: [measures.psnr(f[:1], t[:1]) for f, t in zip(frames, truth, strict=True)]
            for name, frames in ways.items()
        },
        "direction right": {name: said(clips, frames, "direction") for name, frames in ways.items()},
        "one object, frames": {
            name: [measures.coherent(f, fps=c.fps, objects=1) for f, c in zip(frames, clips, strict=True)]
            for name, frames in ways.items()
        },
    }


def forward(bench: Bench) -> Found:
    """P3: no break in the motion where the extension begins."""
    clips, generator = bench.clips, bench.generator
    jobs = [
        extend.extend(generator, given, prompt=prompt_of(c), latents=MORE, seed=k)
        for k, (given, c) in enumerate(zip(bench.given(), clips, strict=True))
    ]
    ways = {name: bench.changed(changes) for name, changes in CONTINUED.items()}
    extended = {
        "mode": bench.frames(ways["mode"].make(jobs)),
        "best of four seeds": bench.frames(ways["mode"].best(jobs)),
    }
    extended |= {name: bench.frames(way.make(jobs)) for name, way in ways.items() if name != "mode"}
    floor = [bench.through(c.video, c.fps) for c in clips]
    chained = chain(bench, [f[:GIVEN] for f in floor], [prompt_of(c) for c in clips], times=1)
    ways = {
        **extended,
        "last frame as an image": chained,
        "reconstruction": floor,
        "truth": [c.video for c in clips],
    }
    found: Found = {
        "change of velocity at the join / inside": {},
        "one object, frames after": {},
        "object from the truth, world units": {},
    }
    for name, frames in ways.items():
        joins = np.array([measures.join(f, at=GIVEN, fps=c.fps) for f, c in zip(frames, clips, strict=True)])
        inside = np.nanmean(joins[:, 1])
        found["change of velocity at the join / inside"][name] = (joins[:, 0] / inside).tolist()
        after = [f[GIVEN:] for f in frames]
        found["one object, frames after"][name] = [
            measures.coherent(f, fps=c.fps, objects=1) for f, c in zip(after, clips, strict=True)
        ]
        found["object from the truth, world units"][name] = [
            measures.places_apart(f, c.video[GIVEN:], fps=c.fps) for f, c in zip(after, clips, strict=True)
        ]
    shown = zip(clips, extended["mode"], strict=True)
    bench.sheet("forward", [(prompt_of(c), f) for c, f in list(shown)[:6]])
    return found


def chain(
    bench: Bench, videos: Sequence[np.ndarray], prompts: Sequence[str], *, times: int
) -> list[np.ndarray]:
    """The naive way to extend: the last frame is an image that is animated, again and again."""
    fps = [c.fps for c in bench.clips]
    for number in range(times):
        jobs = [
            create.animate(
                bench.generator, f[-1], prompt=p, frames=1 + 4 * MORE, fps=r, seed=100 * number + k
            )
            for k, (f, p, r) in enumerate(zip(videos, prompts, fps, strict=False))
        ]
        more = bench.frames(bench.make(jobs))
        videos = [np.concatenate([f, m[1:]]) for f, m in zip(videos, more, strict=True)]
    return list(videos)


def drift(bench: Bench, *, times: int = 10) -> Found:
    """E3: ten extensions of things at rest, which have to stay what they are."""
    clips = bench.clips[: max(2, len(bench.clips) // 2)]
    still = [np.repeat(c.video[:1], GIVEN, axis=0) for c in clips]
    prompts = [f"a {c.state.bodies[0].color} {c.state.bodies[0].shape} at rest" for c in clips if c.state]
    size = 4 * MORE
    found: Found = {"colour drift per extension": {}, "object lost at the end": {}}
    rows = []
    for label, changes in {**CONTINUED, "without memory": CONTINUED["mode"]}.items():
        changed = bench.changed(changes)
        made = [bench.encoded(f, c.fps) for f, c in zip(still, clips, strict=True)]
        for _ in range(times):
            made = changed.make(
                [
                    extend.extend(
                        bench.generator,
                        one,
                        prompt=p,
                        latents=MORE,
                        seed=k,
                        memory=label != "without memory",
                    )
                    for k, (one, p) in enumerate(zip(made, prompts, strict=True))
                ]
            )
        rows.append((label, bench.frames(made)))
    floor = [bench.through(f, c.fps) for f, c in zip(still, clips, strict=True)]
    rows.append(("last frame as an image", chain(bench, floor, prompts, times=times)))
    for name, videos in rows:
        parts = [
            [f[:GIVEN], *(f[GIVEN + k * size : GIVEN + (k + 1) * size] for k in range(times))] for f in videos
        ]
        found["colour drift per extension"][name] = [measures.color_drift(p) for p in parts]
        found["object lost at the end"][name] = [
            float(np.isnan(measures.object_color(p[-1][-4:])).any()) for p in parts
        ]
    bench.sheet(
        "drift", [(f"{name}: {prompts[k]}", f[k]) for k in range(min(3, len(clips))) for name, f in rows]
    )
    return found


def backward(bench: Bench) -> Found:
    """P4: other beginnings, one ending."""
    clips, generator = bench.clips, bench.generator
    later = [bench.encoded(c.video[WHOLE - GIVEN :], c.fps) for c in clips]
    both = [
        bench.frames(
            bench.changed(CONTINUED["mode"]).make(
                [
                    extend.extend_backward(
                        generator, v, prompt=prompt_of(c), latents=MORE, seed=1000 * side + k
                    )
                    for k, (v, c) in enumerate(zip(later, clips, strict=True))
                ]
            )
        )
        for side in (1, 2)
    ]
    begin, floor = 4 * MORE + 1, bench.frames(later)
    bench.sheet("backward", [(prompt_of(c), f[k]) for k, c in enumerate(list(clips)[:3]) for f in both])
    pairs = list(zip(*both, strict=True))
    return {
        "PSNR of the ending, dB": {
            "mode": [
                measures.psnr(f[begin:], c.video[-(GIVEN - 1) :]) for f, c in zip(both[0], clips, strict=True)
            ],
            "reconstruction": [
                measures.psnr(f[1:], c.video[-(GIVEN - 1) :]) for f, c in zip(floor, clips, strict=True)
            ],
        },
        "two seeds apart, world units": {
            "beginnings": [
                measures.places_apart(a[:begin], b[:begin], fps=c.fps)
                for (a, b), c in zip(pairs, clips, strict=True)
            ],
            "endings": [
                measures.places_apart(a[begin:], b[begin:], fps=c.fps)
                for (a, b), c in zip(pairs, clips, strict=True)
            ],
        },
    }


def long(bench: Bench, *, seconds: int = 60, fps: float = 16.0) -> Found:
    """P9, E3: window after window; how long is what is seen what was asked for?"""
    looks = [("red", "circle"), ("blue", "square"), ("green", "circle"), ("purple", "triangle")]
    prompts = [f"a {color} {shape} at rest" for color, shape in looks]
    prompts += [f"a {color} circle bouncing off the floor" for color in ("cyan", "orange")]
    prompts += ["a red circle and a cyan circle bounce around in a box"]
    found: Found = {"right frames": {}, "seconds until none is right": {}, "cuts seen": {}}
    shown = []
    for name, changes in LONG.items():
        settings = bench.changed(changes).settings
        right, lasted, cuts = [], [], []
        for number, prompt in enumerate(prompts):
            chunks = stream.windows(
                bench.generator,
                settings,
                prompt=prompt,
                latents=1 + round(seconds * fps / 4),
                height=SIDE,
                width=SIDE,
                fps=fps,
                seed=number,
                memory=name != "without memory",
            )
            frames = np.stack(list(stream.frames_of(bench.generator, chunks)))
            words = prompt.split()
            asked = [word for word in words if word in PALETTE]
            good = measures.shows_colors(frames, asked, fps=fps)
            by_second = good[: seconds * round(fps)].reshape(seconds, -1).any(1)
            right.append(float(good.mean()))
            lasted.append(float(seconds if by_second.all() else by_second.argmin()))
            cuts.append(float(measures.cuts_seen(frames, fps=fps)))
            shown.append((f"{name}: {prompt}", frames))
        found["right frames"][name], found["seconds until none is right"][name] = right, lasted
        found["cuts seen"][name] = cuts
    bench.sheet("long", shown)
    return found
