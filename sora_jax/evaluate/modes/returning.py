"""What left the frame before the video ends, and has to come back: permanence, of P3."""

from __future__ import annotations

from sora_jax.evaluate.modes.bench import CONTINUED, GIVEN, MORE, SEED, SIDE, WHOLE, Bench, Found, prompt_of
from sora_jax.evaluate.modes.continuing import chain
from sora_jax.evaluation import modes as measures
from sora_jax.sampling import extend
from sora_jax.types import Clip
from sora_jax.worlds.source import WorldSource

GONE = 0.002  # visible share below which nothing is seen
BACK = 4  # frames at the end in which it is wholly seen again


def gone_clips(count: int) -> list[Clip]:
    """Clips of one object that the given frames see leave, and of which their last frame shows nothing."""
    world = WorldSource(
        seed=SEED + 2,
        length=100_000,
        families={"returns": 1.0},
        frames={WHOLE: 1.0},
        sizes={(SIDE, SIDE): 1.0},
    )
    found: list[Clip] = []
    number = 0
    while len(found) < count:
        clip = world[number]
        number += 1
        if clip.state is None or len(clip.state.bodies) != 1:
            continue
        seen = clip.state.visible[:, 0]
        in_context = seen[GIVEN - 12 : GIVEN].max() > 0.5  # three latents of four frames
        if in_context and seen[GIVEN - 1] < GONE and seen[-BACK:].min() > 0.98:
            found.append(clip)
    return found


def returning(bench: Bench) -> Found:
    """P3: an extension brings back what its video saw leave, with the looks that it had.

    It is told nothing in words: what the looks were, it can know from its context alone.
    """
    clips = gone_clips(len(bench.clips))
    jobs = [
        extend.extend(
            bench.generator,
            bench.encoded(c.video[:GIVEN], c.fps),
            prompt="",
            latents=MORE,
            seed=k,
        )
        for k, c in enumerate(clips)
    ]
    ways = {name: bench.frames(bench.changed(changes).make(jobs)) for name, changes in CONTINUED.items()}
    ways["reconstruction"] = [bench.through(c.video, c.fps) for c in clips]
    given = [f[:GIVEN] for f in ways["reconstruction"]]
    ways["last frame as an image"] = chain(bench.of(clips), given, [""] * len(clips), times=1)
    bench.sheet("returning", [(prompt_of(c), f) for c, f in list(zip(clips, ways["mode"], strict=True))[:6]])
    found: Found = {"comes back as it was": {}, "object from the truth at the end, world units": {}}
    for name, videos in ways.items():
        found["comes back as it was"][name] = [
            float(
                measures.comes_back(
                    f[GIVEN:],
                    color=c.state.bodies[0].color,  # type: ignore[union-attr]
                    shape=c.state.bodies[0].shape,  # type: ignore[union-attr]
                    fps=c.fps,
                )
            )
            for f, c in zip(videos, clips, strict=True)
        ]
        found["object from the truth at the end, world units"][name] = [
            measures.places_apart(f[-BACK:], c.video[-BACK:], fps=c.fps)
            for f, c in zip(videos, clips, strict=True)
        ]
    return found
