"""What is asked for in words: one caption, P10, M6."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sora_jax import text_bytes
from sora_jax.evaluate.modes.bench import (
    GIVEN,
    SEED,
    SEEN_SIZES,
    SIDE,
    UNSEEN_SIZES,
    WHOLE,
    Bench,
    Found,
    prompt_of,
    said,
)
from sora_jax.evaluation import modes as measures
from sora_jax.evaluation import text_alignment
from sora_jax.sampling import create
from sora_jax.types import Clip
from sora_jax.worlds.parse import parse_prompt
from sora_jax.worlds.source import WorldSource

SAID = ("color", "shape", "count", "direction")  # of what a caption says


def _from_text(
    bench: Bench,
    clips: Sequence[Clip],
    prompts: Sequence[str],
    *,
    frames: int,
    height: int = SIDE,
    width: int = SIDE,
) -> list[np.ndarray]:
    """A video of each prompt at the rate of its clip; the seed is its number."""
    size = {"frames": frames, "height": height, "width": width}
    jobs = [
        create.text_to_video(bench.generator, prompt=prompt, fps=clip.fps, seed=seed, **size)
        for seed, (clip, prompt) in enumerate(zip(clips, prompts, strict=True))
    ]
    return bench.frames(bench.make(jobs))


def prompts(bench: Bench) -> Found:
    """Plain prompts at the full length: what they say, and cuts that nobody asked for. Four seeds each."""
    clips = [c for c in bench.clips for _ in range(4)]
    made = _from_text(bench, clips, [prompt_of(c) for c in clips], frames=WHOLE)
    bench.sheet("prompt", [(prompt_of(c), f) for c, f in list(zip(clips, made, strict=True))[::4]])
    floor = [bench.through(c.video, c.fps) for c in bench.clips]
    ways = {
        "mode": (clips, made),
        "reconstruction": (bench.clips, floor),
        "truth": (bench.clips, [c.video for c in bench.clips]),
    }
    found: Found = {"unasked cut": {}, **{name: {} for name in SAID}}
    for column, (asked, frames) in ways.items():
        found["unasked cut"][column] = [
            measures.unasked_cut(f, fps=c.fps) for c, f in zip(asked, frames, strict=True)
        ]
        for name in SAID:
            found[name][column] = said(asked, frames, name)
    return found


def storyboards(bench: Bench) -> Found:
    """P10: cuts where they were asked for, one cast, each shot as its caption says."""
    world = WorldSource(
        seed=SEED + 1,
        length=10_000,
        families={"cuts": 1.0},
        frames={WHOLE: 1.0},
        sizes={(SIDE, SIDE): 1.0},
    )
    clips = [clip for clip in (world[k] for k in range(4 * len(bench.clips))) if clip.state is not None]
    clips = [c for c in clips if c.state and c.state.shot is not None and len(c.state.bodies) == 1]
    clips = clips[: len(bench.clips)]
    jobs = [
        create.storyboard(
            bench.generator,
            shots=text_bytes.split_times(prompt_of(c)),
            frames=WHOLE,
            height=SIDE,
            width=SIDE,
            fps=c.fps,
            seed=k,
        )
        for k, c in enumerate(clips)
    ]
    made, once = bench.frames(bench.best(jobs)), bench.frames(bench.make(jobs))
    floor = [bench.through(c.video, c.fps) for c in clips]
    single = _from_text(
        bench,
        clips,
        [" and then ".join(text for _, text in text_bytes.split_times(prompt_of(c))) for c in clips],
        frames=WHOLE,
    )
    bench.sheet("storyboard", [(prompt_of(c), f) for c, f in list(zip(clips, made, strict=True))[:6]])
    ways = {
        "mode": made,
        "one seed": once,
        "one caption": single,
        "reconstruction": floor,
        "truth": [c.video for c in clips],
    }
    found: Found = {
        "cuts within a frame": {},
        "unasked cut": {},
        "cast kept": {},
        "direction of each shot": {},
        "colour of each shot": {},
    }
    for name, frames in ways.items():
        cuts, others, kept, direction, color = [], [], [], [], []
        for f, c in zip(frames, clips, strict=True):
            assert c.state is not None and c.state.shot is not None
            borders = [int(k) for k in np.flatnonzero(np.diff(c.state.shot)) + 1]
            cuts.append(measures.cuts_found(f, borders, fps=c.fps))
            others.append(measures.unasked_cut(f, borders, fps=c.fps))
            kept.append(measures.cast_kept(f, borders, fps=c.fps))
            parts = np.split(f, borders)
            facts = [parse_prompt(text) for _, text in text_bytes.split_times(prompt_of(c))]
            table = text_alignment.score_prompts(parts, facts, fps=c.fps)  # type: ignore[arg-type]
            direction += table["direction"].tolist()
            color += table["color"].tolist()
        found["cuts within a frame"][name] = cuts
        found["unasked cut"][name] = others
        found["cast kept"][name] = kept
        found["direction of each shot"][name] = direction
        found["colour of each shot"][name] = color
    return found


def sizes(bench: Bench) -> Found:
    """M6, M9: text to video at sizes that training had, and at sizes that it never had."""
    clips = bench.clips
    found: Found = {name: {"seen sizes": [], "unseen sizes": []} for name in SAID}
    shown = []
    for column, group in (("seen sizes", SEEN_SIZES), ("unseen sizes", UNSEEN_SIZES)):
        for height, width in group:
            made = _from_text(
                bench, clips, [prompt_of(c) for c in clips], frames=GIVEN, height=height, width=width
            )
            for name in SAID:
                found[name][column] = [*found[name][column], *said(clips, made, name)]
            shown.append((f"{height} x {width}: {prompt_of(clips[0])}", made[0]))
    bench.sheet("sizes", shown)
    return found
