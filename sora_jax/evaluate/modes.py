"""How well does a model do each thing it can be asked for? Every mode, beside its floor and a naive way.

The clips are held-out ones of one object in free motion, so the truth is known before and after what a mode
is given. Columns: the mode; the naive way (an extension from the last frame as an image, a cross-fade, a held
frame, ...); the truth and the truth through the autoencoder, where there is one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from sora_jax import command, text_bytes
from sora_jax.evaluate import sampling
from sora_jax.evaluation import modes as measures
from sora_jax.evaluation import report, text_alignment
from sora_jax.sampling import connect, create, edit, extend, stream, video
from sora_jax.sampling.generate import Generator, Settings
from sora_jax.sampling.video import Job, Video
from sora_jax.types import Clip
from sora_jax.worlds.parse import parse_prompt
from sora_jax.worlds.scene import PALETTE
from sora_jax.worlds.source import WorldSource

SEED = 8_100_000  # of the clips' worlds; no training world has it
GIVEN, WHOLE, SIDE = 17, 33, 64  # frames that a mode is given, frames of the truth, pixels
MORE = (WHOLE - GIVEN) // 4  # latents that an extension adds
SEEN_SIZES = ((64, 64), (64, 96), (96, 96))
UNSEEN_SIZES = ((80, 80), (112, 64), (48, 96))
# How a video is continued: guided by its text as the card says, or left to what was there before.
CONTINUED: dict[str, dict[str, float]] = {
    "mode": {},
    "mode, guidance 1": {"guidance_scale": 1.0},
    "guidance 1, context noise 0.05": {"guidance_scale": 1.0, "context_noise": 0.05},
}
STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

# measure -> column -> one value per clip
Found = dict[str, dict[str, Sequence[float]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `evaluate modes`."""
    parser.add_argument("--checkpoint", required=True, help="a shipped model's name, or a model folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of scores.json, scores.md, sheets")
    parser.add_argument("--clips", type=int, default=24, help="of each mode")
    parser.add_argument("--only", nargs="+", choices=sorted(MODES), help="these alone; others are kept")
    sampling.add_arguments(parser)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """What every mode's score is made from.

    Attributes:
      clips: of `WHOLE` frames, one object in view throughout.
    """

    generator: Generator
    settings: Settings
    rows: int
    clips: Sequence[Clip]
    out: Path

    def make(self, jobs: Sequence[Job]) -> list[Video]:
        """The videos of jobs."""
        return video.run(self.generator, jobs, settings=self.settings, rows=self.rows)

    def frames(self, videos: Sequence[Video]) -> list[np.ndarray]:
        """Their pixels."""
        return [video.decode(self.generator, one) for one in videos]

    def encoded(self, frames: np.ndarray, fps: float) -> Video:
        """Pixels as a video of latents."""
        return video.encode(self.generator, frames, fps=fps)

    def through(self, frames: np.ndarray, fps: float) -> np.ndarray:
        """Pixels through the autoencoder."""
        return video.decode(self.generator, self.encoded(frames, fps))

    def given(self) -> list[Video]:
        """The clips' first `GIVEN` frames as latents."""
        return [self.encoded(c.video[:GIVEN], c.fps) for c in self.clips]

    def sheet(self, name: str, shown: Sequence[tuple[str, np.ndarray]]) -> None:
        """A contact sheet of (caption, frames)."""
        captions, frames = zip(*shown, strict=True)
        report.save_png(self.out / f"{name}.png", report.contact_sheet(frames, captions, side=96, frames=10))


def run(options: argparse.Namespace) -> int:
    """Writes scores.json, scores.md and a sheet per mode; with --only, into those that are there."""
    with command.checking_usage():
        if options.clips < 2:
            raise ValueError(f"--clips {options.clips}: give at least 2 (a mode connects two)")
        generator, settings = sampling.load(options)
    bench = Bench(
        generator=generator,
        settings=settings,
        rows=options.rows,
        clips=held_out(options.clips),
        out=options.out,
    )
    path = options.out / "scores.json"
    kept = json.loads(path.read_text())["scores"] if options.only and path.exists() else {}
    for name in options.only or MODES:
        begun = time.monotonic()
        kept[name] = _scored(MODES[name](bench))
        print(f"{name}: {time.monotonic() - begun:.0f} s\n{_table(kept[name])}\n", flush=True)
        table = {
            "checkpoint": str(options.checkpoint),
            "clips": options.clips,
            **dataclasses.asdict(settings),
        }
        path.write_text(json.dumps({"settings": table, "scores": kept}, indent=1))
        pages = [f"## {name}\n\n{_table(scores)}" for name, scores in kept.items()]
        (options.out / "scores.md").write_text("\n\n".join(pages) + "\n")
    print(f"wrote {options.out}/scores.md, scores.json and a sheet per mode")
    return 0


def held_out(count: int, *, objects: int = 1) -> list[Clip]:
    """Clips of `WHOLE` frames of objects in free motion that are wholly in view throughout."""
    world = WorldSource(
        seed=SEED,
        length=100_000,
        families={"uniform": 1.0},
        frames={WHOLE: 1.0},
        sizes={(SIDE, SIDE): 1.0},
    )
    found: list[Clip] = []
    for number in range(len(world)):
        scene = world.scene(number)
        if len(scene.bodies) != objects:
            continue
        clip = world[number]
        if clip.state is not None and clip.state.visible.min() > 0.98:
            found.append(clip)
        if len(found) == count:
            break
    return found


def _scored(found: Found) -> dict:
    """measure -> column -> mean with its interval."""
    scores = {}
    for measure, columns in found.items():
        scores[measure] = {}
        for column, values in columns.items():
            finite = np.array([v for v in values if np.isfinite(v)], float)
            if len(finite):
                score = text_alignment.bootstrap(finite, np.ones(len(finite)))
                scores[measure][column] = score._asdict()
    return scores


def _table(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    columns = list(dict.fromkeys(c for row in scores.values() for c in row))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for measure, row in scores.items():
        cells = [
            f"{row[c]['mean']:.3g} [{row[c]['low']:.3g}, {row[c]['high']:.3g}]" if c in row else ""
            for c in columns
        ]
        lines.append(f"| {measure} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _prompt(clip: Clip) -> str:
    return clip.captions["short"]


def _said(clips: Sequence[Clip], frames: Sequence[np.ndarray], name: str) -> Sequence[float]:
    """One of the scores against what the captions state, per clip."""
    facts = [parse_prompt(_prompt(c)) for c in clips]
    assert all(f is not None for f in facts)
    table = text_alignment.score_prompts(frames, facts, fps=[c.fps for c in clips])  # type: ignore[arg-type]
    return table[name].tolist()


def animate(bench: Bench) -> Found:
    """P2: the first frame comes back, and it moves as it should."""
    clips, generator = bench.clips, bench.generator
    made = bench.frames(
        bench.make(
            [
                create.animate(generator, c.video[0], prompt=_prompt(c), frames=GIVEN, fps=c.fps, seed=k)
                for k, c in enumerate(clips)
            ]
        )
    )
    truth = [c.video[:GIVEN] for c in clips]
    floor = [bench.through(frames, c.fps) for frames, c in zip(truth, clips, strict=True)]
    static = [np.repeat(frames[:1], GIVEN, axis=0) for frames in floor]
    bench.sheet("animate", [(_prompt(c), f) for c, f in list(zip(clips, made, strict=True))[:6]])
    ways = {"mode": made, "held frame": static, "reconstruction": floor}
    return {
        "PSNR of the first frame, dB": {
            name: [measures.psnr(f[:1], t[:1]) for f, t in zip(frames, truth, strict=True)]
            for name, frames in ways.items()
        },
        "direction right": {name: _said(clips, frames, "direction") for name, frames in ways.items()},
        "one object, frames": {
            name: [measures.coherent(f, fps=c.fps, objects=1) for f, c in zip(frames, clips, strict=True)]
            for name, frames in ways.items()
        },
    }


def forward(bench: Bench) -> Found:
    """P3: no break in the motion where the extension begins."""
    clips, generator = bench.clips, bench.generator
    jobs = [
        extend.extend(generator, given, prompt=_prompt(c), latents=MORE, seed=k)
        for k, (given, c) in enumerate(zip(bench.given(), clips, strict=True))
    ]
    extended = {}
    for label, changes in CONTINUED.items():
        changed = dataclasses.replace(bench, settings=dataclasses.replace(bench.settings, **changes))
        extended[label] = bench.frames(changed.make(jobs))
    floor = [bench.through(c.video, c.fps) for c in clips]
    chained = _chain(bench, [f[:GIVEN] for f in floor], [_prompt(c) for c in clips], times=1)
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
    shown = zip(clips, extended["mode, guidance 1"], strict=True)
    bench.sheet("forward", [(_prompt(c), f) for c, f in list(shown)[:6]])
    return found


def _chain(
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
    for label, changes in CONTINUED.items():
        changed = dataclasses.replace(bench, settings=dataclasses.replace(bench.settings, **changes))
        made = [bench.encoded(f, c.fps) for f, c in zip(still, clips, strict=True)]
        for _ in range(times):
            made = changed.make(
                [
                    extend.extend(bench.generator, one, prompt=p, latents=MORE, seed=k)
                    for k, (one, p) in enumerate(zip(made, prompts, strict=True))
                ]
            )
        rows.append((label, bench.frames(made)))
    floor = [bench.through(f, c.fps) for f, c in zip(still, clips, strict=True)]
    rows.append(("last frame as an image", _chain(bench, floor, prompts, times=times)))
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
            bench.make(
                [
                    extend.extend_backward(
                        generator, v, prompt=_prompt(c), latents=MORE, seed=1000 * side + k
                    )
                    for k, (v, c) in enumerate(zip(later, clips, strict=True))
                ]
            )
        )
        for side in (1, 2)
    ]
    begin, floor = 4 * MORE + 1, bench.frames(later)
    bench.sheet("backward", [(_prompt(c), f[k]) for k, c in enumerate(list(clips)[:3]) for f in both])
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


def loop(bench: Bench) -> Found:
    """P5: the seam is no larger a step than the others."""
    clips, generator = bench.clips, bench.generator
    prompts = [f"a {c.state.bodies[0].color} {c.state.bodies[0].shape}" for c in clips if c.state]
    made = bench.frames(
        bench.make(
            [
                connect.loop(generator, v, prompt=p, latents=MORE, seed=k)
                for k, (v, p) in enumerate(zip(bench.given(), prompts, strict=True))
            ]
        )
    )
    floor = [bench.through(c.video[:GIVEN], c.fps) for c in clips]
    faded = [np.concatenate([f, measures.cross_fade(f, f, 4 * MORE - 1)]) for f in floor]
    ways = {"mode": made, "cross-fade": faded, "played again": floor}
    bench.sheet("loop", [(p, f) for p, f in list(zip(prompts, made, strict=True))[:6]])
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
        return " and ".join(f"a {b.color} {b.shape}" for b in looks)

    made = bench.frames(
        bench.make(
            [
                connect.connect(generator, given[i], given[j], prompt=prompt(i, j), latents=MORE, seed=i)
                for i, j in pairs
            ]
        )
    )
    gap = 4 * MORE
    faded = [
        np.concatenate([floor[i], measures.cross_fade(floor[i], floor[j], gap), floor[j]]) for i, j in pairs
    ]
    cut = [np.concatenate([floor[i], floor[j]]) for i, j in pairs]
    ramped = 4  # frames of the latent of each side that may give way
    bench.sheet("connect", [(prompt(*p), f) for p, f in list(zip(pairs, made, strict=True))[:6]])
    return {
        "PSNR of the first end, dB": {
            "mode": [
                measures.psnr(f[: GIVEN - ramped], clips[i].video[: GIVEN - ramped])
                for f, (i, _) in zip(made, pairs, strict=True)
            ],
            "reconstruction": [
                measures.psnr(floor[i][: GIVEN - ramped], clips[i].video[: GIVEN - ramped]) for i, _ in pairs
            ],
        },
        "PSNR of the last end, dB": {
            "mode": [
                measures.psnr(f[-(GIVEN - 1 - ramped) :], clips[j].video[1 + ramped : GIVEN])
                for f, (_, j) in zip(made, pairs, strict=True)
            ],
            "reconstruction": [
                measures.psnr(floor[j][1 + ramped :], clips[j].video[1 + ramped : GIVEN]) for _, j in pairs
            ],
        },
        "largest / mean step": {
            name: [measures.largest_step(f) for f in frames]
            for name, frames in {"mode": made, "cross-fade": faded, "cut": cut}.items()
        },
        "one object, frames between": {
            name: [measures.coherent(f[GIVEN : GIVEN + gap], fps=8.0, objects=1) for f in frames]
            for name, frames in {"mode": made, "cross-fade": faded}.items()
        },
    }


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
        prompts.append(_prompt(c).replace(body.color, new))
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
        found["direction kept"][name] = _said(clips, made, "direction")
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
                edit.inpaint(generator, v, mask, prompt=_prompt(c), seed=k)
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
                    prompt=_prompt(c),
                    seed=k,
                )
                for k, c in enumerate(clips)
            ]
        )
    )
    floor = bench.frames(given)
    bench.sheet("inpaint", [(_prompt(c), f) for c, f in list(zip(clips, inside, strict=True))[:4]])
    bench.sheet("outpaint", [(_prompt(c), f) for c, f in list(zip(clips, around, strict=True))[:4]])
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
    made = bench.frames(
        bench.make(
            [
                edit.keyframes(
                    generator,
                    {n: c.video[n] for n in at},
                    prompt=_prompt(c),
                    frames=GIVEN,
                    fps=c.fps,
                    seed=k,
                )
                for k, c in enumerate(clips)
            ]
        )
    )
    faded = [
        np.concatenate([c.video[:1], measures.cross_fade(c.video[:1], c.video[13:], 12), c.video[13:GIVEN]])
        for c in clips
    ]
    floor = [bench.through(c.video[:GIVEN], c.fps) for c in clips]
    bench.sheet("keyframes", [(_prompt(c), f) for c, f in list(zip(clips, made, strict=True))[:6]])
    between, known = slice(1, 13), list(at)
    ways = {"mode": made, "cross-fade": faded, "reconstruction": floor}
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


def storyboards(bench: Bench) -> Found:
    """P10: cuts where they were asked for, one cast, each shot as its caption says."""
    world = WorldSource(
        seed=SEED + 1,
        length=10_000,
        families={"shots": 1.0},
        frames={WHOLE: 1.0},
        sizes={(SIDE, SIDE): 1.0},
    )
    clips = [clip for clip in (world[k] for k in range(4 * len(bench.clips))) if clip.state is not None]
    clips = [c for c in clips if c.state and c.state.shot is not None and len(c.state.bodies) == 1]
    clips = clips[: len(bench.clips)]
    made = bench.frames(
        bench.make(
            [
                create.storyboard(
                    bench.generator,
                    shots=text_bytes.split_times(_prompt(c)),
                    frames=WHOLE,
                    height=SIDE,
                    width=SIDE,
                    fps=c.fps,
                    seed=k,
                )
                for k, c in enumerate(clips)
            ]
        )
    )
    floor = [bench.through(c.video, c.fps) for c in clips]
    single = bench.frames(
        bench.make(
            [
                create.text_to_video(
                    bench.generator,
                    prompt=" and then ".join(text for _, text in text_bytes.split_times(_prompt(c))),
                    frames=WHOLE,
                    height=SIDE,
                    width=SIDE,
                    fps=c.fps,
                    seed=k,
                )
                for k, c in enumerate(clips)
            ]
        )
    )
    bench.sheet("storyboard", [(_prompt(c), f) for c, f in list(zip(clips, made, strict=True))[:6]])
    ways = {"mode": made, "one caption": single, "reconstruction": floor, "truth": [c.video for c in clips]}
    found: Found = {
        "cuts within a frame": {},
        "cast kept": {},
        "direction of each shot": {},
        "colour of each shot": {},
    }
    for name, frames in ways.items():
        cuts, kept, direction, color = [], [], [], []
        for f, c in zip(frames, clips, strict=True):
            assert c.state is not None and c.state.shot is not None
            borders = [int(k) for k in np.flatnonzero(np.diff(c.state.shot)) + 1]
            cuts.append(measures.cuts_found(f, borders, fps=c.fps))
            kept.append(measures.cast_kept(f, borders, fps=c.fps))
            parts = np.split(f, borders)
            facts = [parse_prompt(text) for _, text in text_bytes.split_times(_prompt(c))]
            table = text_alignment.score_prompts(parts, facts, fps=c.fps)  # type: ignore[arg-type]
            direction += table["direction"].tolist()
            color += table["color"].tolist()
        found["cuts within a frame"][name] = cuts
        found["cast kept"][name] = kept
        found["direction of each shot"][name] = direction
        found["colour of each shot"][name] = color
    return found


def sizes(bench: Bench) -> Found:
    """M6, M9: text to video at sizes that training had, and at sizes that it never had."""
    clips, generator = bench.clips, bench.generator
    names = ("color", "shape", "count", "direction")
    found: Found = {name: {"seen sizes": [], "unseen sizes": []} for name in names}
    shown = []
    for column, group in (("seen sizes", SEEN_SIZES), ("unseen sizes", UNSEEN_SIZES)):
        for height, width in group:
            made = bench.frames(
                bench.make(
                    [
                        create.text_to_video(
                            generator,
                            prompt=_prompt(c),
                            frames=GIVEN,
                            height=height,
                            width=width,
                            fps=c.fps,
                            seed=k,
                        )
                        for k, c in enumerate(clips)
                    ]
                )
            )
            for name in names:
                found[name][column] = [*found[name][column], *_said(clips, made, name)]
            shown.append((f"{height} x {width}: {_prompt(clips[0])}", made[0]))
    bench.sheet("sizes", shown)
    return found


def drafts(bench: Bench) -> Found:
    """M9: a draft drawn again at twice the size keeps its layout."""
    clips, generator = bench.clips[: max(2, len(bench.clips) // 2)], bench.generator
    size = {"frames": GIVEN, "height": SIDE, "width": SIDE}
    small = bench.frames(
        bench.make(
            [
                create.text_to_video(generator, prompt=_prompt(c), fps=c.fps, seed=k, **size)
                for k, c in enumerate(clips)
            ]
        )
    )
    large = bench.frames(
        bench.make(
            [
                edit.upscale(
                    generator, f, fps=c.fps, height=2 * SIDE, width=2 * SIDE, prompt=_prompt(c), seed=k
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
                    prompt=_prompt(c),
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
            for row in ((f"draft: {_prompt(clips[k])}", small[k]), ("large", large[k]))
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
        "shape right": {name: _said(clips, frames, "shape") for name, frames in ways.items()},
    }


def long(bench: Bench, *, seconds: int = 20, fps: float = 16.0) -> Found:
    """P9, E3: window after window; how long is what is seen what was asked for?"""
    looks = [("red", "circle"), ("blue", "square"), ("green", "circle"), ("purple", "triangle")]
    prompts = [f"a {color} {shape} at rest" for color, shape in looks]
    prompts += [f"a {color} circle bouncing off the floor" for color in ("cyan", "orange")]
    prompts += ["a red circle and a cyan circle bounce around in a box"]
    found: Found = {"right frames": {}, "seconds until none is right": {}}
    shown = []
    for name, changes in CONTINUED.items():
        settings = dataclasses.replace(bench.settings, **changes)
        right, lasted = [], []
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
            )
            frames = np.stack(list(stream.frames_of(bench.generator, chunks)))
            words = prompt.split()
            asked = [word for word in words if word in PALETTE]
            good = measures.shows_colors(frames, asked, fps=fps)
            by_second = good[: seconds * round(fps)].reshape(seconds, -1).any(1)
            right.append(float(good.mean()))
            lasted.append(float(seconds if by_second.all() else by_second.argmin()))
            shown.append((f"{name}: {prompt}", frames))
        found["right frames"][name], found["seconds until none is right"][name] = right, lasted
    bench.sheet("long", shown)
    return found


MODES: dict[str, Callable[[Bench], Found]] = {
    "animate": animate,
    "forward": forward,
    "backward": backward,
    "drift": drift,
    "loop": loop,
    "connect": connecting,
    "edit": editing,
    "paint": painting,
    "keyframes": filling,
    "storyboard": storyboards,
    "sizes": sizes,
    "draft": drafts,
    "long": long,
}
