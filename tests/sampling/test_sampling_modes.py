"""Every mode keeps exactly what it says it keeps, and is one call of one sampler."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys

import numpy as np
import pytest

from sora_jax import build
from sora_jax.data import video_files
from sora_jax.models import autoencoder_latents
from sora_jax.sampling import connect, create, edit, extend, generate, stream, video
from sora_jax.sampling.request import Settings
from sora_jax.worlds.source import WorldSource

SIDE, FPS, FRAMES = 48, 8.0, 17  # 5 latents of 3 x 3 patches
SETTINGS = Settings(steps=3, guidance_scale=2.0)
PROMPT = "a red circle moving left"


@pytest.fixture(scope="module")
def generator():
    return build.load_generator("gpu-128px")[0]


@pytest.fixture(scope="module")
def clips():
    source = WorldSource(seed=4, length=2, frames={FRAMES: 1.0}, sizes={(SIDE, SIDE): 1.0})
    return [source[number].video for number in range(2)]


@pytest.fixture(scope="module")
def mask():
    marked = np.zeros((FRAMES, SIDE, SIDE), bool)
    marked[3, 20, 40] = True  # the third latent holds frames 5 to 8, the second 1 to 4
    return marked


@pytest.fixture(scope="module")
def given(generator, clips):
    return [video.encode(generator, clip, fps=FPS) for clip in clips]


@pytest.fixture(scope="module")
def made(generator, clips, given, mask):
    """The video of every mode, all of them sampled in the same batches."""
    size = {"frames": FRAMES, "height": SIDE, "width": SIDE, "fps": FPS}
    a, b = given
    jobs = {
        "text": create.text_to_video(generator, prompt=PROMPT, seed=7, **size),
        "image": create.text_to_video(generator, prompt=PROMPT, seed=7, **{**size, "frames": 1}),
        "storyboard": create.storyboard(
            generator, shots=[(0.0, PROMPT), (1.0, "a red circle at rest")], seed=7, **size
        ),
        "animate": create.animate(generator, clips[0][0], prompt=PROMPT, frames=FRAMES, fps=FPS),
        "extend": extend.extend(generator, a, prompt=PROMPT, latents=2),
        "backward": extend.extend_backward(generator, a, prompt=PROMPT, latents=2),
        "connect": connect.connect(generator, a, b, prompt=PROMPT, latents=2),
        "loop": connect.loop(generator, a, prompt=PROMPT, latents=2),
        "edit 0": edit.edit(generator, a, prompt=PROMPT, strength=0.0),
        "edit 0.5": edit.edit(generator, a, prompt=PROMPT, strength=0.5),
        "edit 1": edit.edit(generator, a, prompt=PROMPT, strength=1.0, seed=7),
        "inpaint": edit.inpaint(generator, a, mask, prompt=PROMPT),
        "outpaint": edit.outpaint(
            generator, clips[0][:5], fps=FPS, height=SIDE, width=2 * SIDE, left=SIDE, prompt=PROMPT
        ),
        "keyframes": edit.keyframes(
            generator,
            {0: clips[0][0], **{k: clips[0][k] for k in (5, 6, 7, 8)}, 16: clips[0][16]},
            prompt=PROMPT,
            frames=FRAMES,
            fps=FPS,
        ),
        "upscale": edit.upscale(
            generator, clips[0][:5, ::2, ::2], fps=FPS, height=SIDE, width=SIDE, prompt=PROMPT
        ),
    }
    found = video.run(generator, list(jobs.values()), settings=SETTINGS, rows=8)
    assert all(np.isfinite(result.latents).all() for result in found)
    return dict(zip(jobs, found, strict=True))


def test_animate_keeps_the_image(generator, made, clips):
    image = video.encode(generator, clips[0][:1], fps=FPS)
    np.testing.assert_array_equal(made["animate"].latents[0], image.latents[0])
    assert len(made["animate"].latents) == 5


def test_extensions_keep_all_of_the_video_and_add_to_it(made, given):
    n = len(given[0].latents)
    np.testing.assert_array_equal(made["extend"].latents[:n], given[0].latents)
    assert len(made["extend"].latents) == n + 2 and made["extend"].latents[n:].std() > 0.1
    np.testing.assert_array_equal(made["backward"].latents[3:], given[0].latents[1:])
    assert len(made["backward"].latents) == n + 2 and made["backward"].latents[:3].std() > 0.1


def test_connecting_keeps_both_ends_and_a_ramp_gives_way(made, given):
    a, b = (one.latents for one in given)
    found = made["connect"].latents
    assert len(found) == 5 + 2 + 4
    np.testing.assert_array_equal(found[:4], a[:4])
    np.testing.assert_array_equal(found[-3:], b[2:])
    for changed, before in ((found[4], a[4]), (found[7], b[1])):
        assert 0 < np.abs(changed - before).mean() < np.abs(a[4] - b[1]).mean() + 1


def test_a_loop_is_the_video_and_its_way_back(generator, made, given):
    found = made["loop"]
    np.testing.assert_array_equal(found.latents[:5], given[0].latents)
    assert len(video.decode(generator, found)) == FRAMES + 2 * 4 - 1


def test_edit_at_its_two_limits_is_the_input_and_the_prompts_own_video(made, given):
    np.testing.assert_array_equal(made["edit 0"].latents, given[0].latents)
    np.testing.assert_allclose(made["edit 1"].latents, made["text"].latents, atol=1e-4)
    distance = [np.abs(made[f"edit {s}"].latents - given[0].latents).mean() for s in ("0", "0.5", "1")]
    assert 0 == distance[0] < distance[1] < distance[2]


def test_inpainting_makes_only_the_marked_patches_anew(made, given):
    changed = np.any(made["inpaint"].latents != given[0].latents, axis=-1)
    expected = np.zeros_like(changed)
    expected[1, 2:4, 4:6] = True  # frame 3, rows 16 to 31, columns 32 to 47
    np.testing.assert_array_equal(changed, expected)


def test_outpainting_keeps_the_old_frame_where_it_was_put(generator, made, clips):
    canvas = np.pad(clips[0][:5], ((0, 0), (0, 0), (SIDE, 0), (0, 0)), mode="edge")
    whole = video.encode(generator, canvas, fps=FPS).latents
    found = made["outpaint"].latents
    np.testing.assert_array_equal(found[:, :, 6:], whole[:, :, 6:])
    assert np.all(np.any(found[:, :, :6] != whole[:, :, :6], axis=-1))


def test_keyframes_that_fill_their_latent_are_known_and_others_are_held_loosely(generator, made, clips):
    numbers = [0, 0, 0, 5, 5, 5, 6, 7, 8, 8, 8, 8, 8, 16, 16, 16, 16]  # the nearest given frame of each
    held = video.encode(generator, clips[0][numbers], fps=FPS).latents
    same = np.all(made["keyframes"].latents == held, axis=(1, 2, 3))
    np.testing.assert_array_equal(same, [True, False, True, False, False])
    near = np.abs(made["keyframes"].latents - held).mean((1, 2, 3))
    assert near[4] < near[3], "held loosely, not free"


def test_a_storyboard_is_text_with_times_and_differs_after_the_first(made, generator):
    plain = create.text_to_video(
        generator,
        prompt=f"{PROMPT} [1s] a red circle at rest",
        seed=7,
        frames=FRAMES,
        height=SIDE,
        width=SIDE,
        fps=FPS,
    )
    assert plain.request.prompt == f"{PROMPT} [1s] a red circle at rest"
    assert np.abs(made["storyboard"].latents - made["text"].latents).max() > 1e-3


def test_a_shot_that_is_made_for_itself_knows_nothing_of_the_one_before(generator):
    """In one step from pure noise, with a scale of 1; without guidance by shots it does, and a clip beside
    them of one caption is what it is alone."""
    settings = dataclasses.replace(SETTINGS, steps=1)
    size = {"frames": FRAMES, "height": SIDE, "width": SIDE, "fps": FPS, "seed": 7}

    def latents(scale: float, first: str) -> np.ndarray:
        shots = [(0.0, first), (1.0, "a red circle at rest")]
        jobs = [
            create.storyboard(generator, shots=shots, cut_scale=scale, **size),
            create.text_to_video(generator, prompt=PROMPT, **size),
        ]
        return np.stack([one.latents for one in video.run(generator, jobs, settings=settings, rows=2)])

    found = {
        (scale, first): latents(scale, first) for scale in (0.0, 1.0) for first in (PROMPT, "two blue bars")
    }
    apart = np.abs(found[1.0, PROMPT] - found[1.0, "two blue bars"])[0].max((1, 2, 3))
    together = np.abs(found[0.0, PROMPT] - found[0.0, "two blue bars"])[0].max((1, 2, 3))
    assert (apart[:2] > 1e-3).all() and (apart[2:] < 1e-5).all()  # latents at 0, 0.5, 1, 1.5 and 2 s
    assert (together > 1e-3).all()
    np.testing.assert_allclose(found[1.0, PROMPT][1], found[0.0, PROMPT][1], atol=1e-5)


def test_a_later_shot_of_an_extension_is_led_away_from_what_is_known(generator, given):
    ask = {"prompt": f"{PROMPT} [2.5s] {PROMPT}", "latents": 2, "seed": 3}  # 5 latents end at 2 s
    jobs = [extend.extend(generator, given[0], cut_scale=scale, **ask) for scale in (0.0, 1.5)]
    plain, cut = (one.latents for one in video.run(generator, jobs, settings=SETTINGS, rows=2))
    np.testing.assert_array_equal(cut[:5], given[0].latents)
    assert np.abs(plain - cut)[5:].max() > 1e-3


def test_a_job_alone_gives_what_it_gives_among_others(generator, made, given):
    job = extend.extend(generator, given[0], prompt=PROMPT, latents=2)
    (alone,) = video.run(generator, [job], settings=SETTINGS)
    np.testing.assert_allclose(alone.latents, made["extend"].latents, atol=2e-4)


def test_of_several_seeds_the_best_by_the_mode_and_else_by_the_text_is_kept(generator, given):
    """Every seed alone, and all together in one batch with another mode's."""
    size = {"frames": FRAMES, "height": SIDE, "width": SIDE, "fps": FPS}
    ways = [connect.connect(generator, *given, prompt=PROMPT, latents=2, seed=seed) for seed in (3, 4, 5)]
    texts = [create.text_to_video(generator, prompt=PROMPT, seed=seed, **size) for seed in (3, 4, 5)]
    requests = [job.request for job in (*ways, *texts)]
    grids = [generator.grid(request) for request in requests]
    plan = [[number] for number in range(6)]
    every = generate.sample_rows(generator, requests, grids, plan, settings=SETTINGS, judge=True)
    faults = [connect.unevenness(job.finish(one)) for job, one in zip(ways, every.latents[:3], strict=True)]
    surprise = every.surprise[3:]
    assert min(np.ptp(faults), np.ptp(surprise)) > 1e-3
    chosen = dataclasses.replace(SETTINGS, tries=3)
    even, told = video.run(generator, [ways[0], texts[0]], settings=chosen, rows=6)
    best = int(np.argmin(faults))
    np.testing.assert_allclose(even.latents, ways[best].finish(every.latents[best]).latents, atol=2e-4)
    np.testing.assert_allclose(told.latents, every.latents[3 + int(np.argmin(surprise))], atol=2e-4)
    with pytest.raises(ValueError, match="tries 0"):
        dataclasses.replace(SETTINGS, tries=0)
    first = next(
        stream.windows(
            generator,
            chosen,
            prompt=PROMPT,
            latents=9,
            window=5,
            context=2,
            height=SIDE,
            width=SIDE,
            fps=FPS,
            seed=3,
        )
    )
    np.testing.assert_allclose(first, told.latents, atol=2e-4)


def test_unevenness_is_of_latents_after_the_first():
    steps = np.array([9.0, 1.0, 1.0, 4.0])  # from each to the next
    latents = np.concatenate([[0.0], np.cumsum(steps)])[:, None, None, None] * np.ones((5, 2, 2, 3))
    assert connect.unevenness(video.Video(latents=latents, fps=FPS)) == pytest.approx(4 / 2)


def test_a_change_of_pace_is_read_where_an_extension_joins(generator, given):
    """Steps of 3, 1, 1, 1 and then 2 and 0.5: twice as fast, then half; and the same from behind."""
    steps = np.array([9.0, 3.0, 1.0, 1.0, 1.0, 2.0, 0.5, 7.0])
    latents = np.concatenate([[0.0], np.cumsum(steps)])[:, None, None, None] * np.ones((9, 2, 2, 3))
    forward = extend.change_of_pace(video.Video(latents=latents, fps=FPS), given=6)
    assert forward == pytest.approx(2 * np.log(2))
    turned = np.concatenate([latents[:1] - 50, latents[:0:-1]])  # a first latent, then the others from behind
    backward = extend.change_of_pace(video.Video(latents=turned, fps=FPS), given=-5)
    assert backward == pytest.approx(2 * np.log(2))
    short = dataclasses.replace(given[0], latents=given[0].latents[:2])
    ask = {"prompt": PROMPT, "latents": 2}
    assert extend.extend(generator, short, context=1, **ask).fault is None  # no pace to go by
    assert extend.extend(generator, given[0], **ask).fault is not None
    cut = {**ask, "prompt": f"{PROMPT} [2.5s] {PROMPT}"}
    assert extend.extend(generator, given[0], **cut).fault is None  # another shot has its own


def test_shots_are_judged_where_the_captions_change(generator):
    """At 0.5 and 1.4 s of 8 frames/s, frames 4 and 11.2, of latents 1 and 3."""
    latents = np.zeros((5, 3, 3, 2), np.float32)
    latents[1:3] = [3.0, 4.0]  # 5 away from the first shot's looks
    latents[3:] = [0.6, 0.8]
    shots = [(0.0, PROMPT), (0.5, "a red circle at rest"), (1.4, PROMPT)]
    job = create.storyboard(generator, shots=shots, frames=FRAMES, height=SIDE, width=SIDE, fps=FPS)
    assert job.fault is not None
    steps = np.sqrt([(3**2 + 4**2) / 2, (2.4**2 + 3.2**2) / 2])
    assert job.fault(video.Video(latents=latents, fps=FPS)) == pytest.approx(5 - steps.min())
    assert create.shots_fault(video.Video(latents=latents, fps=FPS), (1, 3)) == pytest.approx(5 - steps.min())
    late = [(0.0, PROMPT), (9.0, PROMPT)]
    job = create.storyboard(generator, shots=late, frames=FRAMES, height=SIDE, width=SIDE, fps=FPS)
    assert job.fault is None


def test_an_extension_remembers_the_first_latent_and_nothing_between(generator, given):
    """Of a video longer than the window: the first counts, what is out of view does not."""
    long = np.concatenate([given[0].latents, given[1].latents[1:]])  # 9 latents
    between, first = long.copy(), long.copy()
    between[1:6] += 1
    first[0] += 1
    ask = {"prompt": PROMPT, "latents": 2, "seed": 3}
    jobs = [
        extend.extend(generator, video.Video(latents=latents, fps=FPS), memory=memory, **ask)
        for latents, memory in ((long, True), (between, True), (first, True), (long, False))
    ]
    assert [len(job.request.given) for job in jobs] == [6, 6, 6, 5]
    made = [one.latents for one in video.run(generator, jobs, settings=SETTINGS)]
    for latents, one in zip((long, between, first, long), made, strict=True):
        np.testing.assert_array_equal(one[:9], latents)
    np.testing.assert_allclose(made[0][9:], made[1][9:], atol=2e-4)
    assert all(np.abs(made[0] - other)[9:].max() > 1e-2 for other in made[2:])


def test_what_is_remembered_guides_from_its_level_on(generator, given):
    long = video.Video(latents=np.concatenate([given[0].latents, given[1].latents[1:]]), fps=FPS)
    job = extend.extend(generator, long, prompt=PROMPT, latents=2)
    assert job.request.context_level == 0.8 and made_level(job, 0.0).request.context_level == 0
    led = dataclasses.replace(SETTINGS, context_scale=4.0)
    jobs = [made_level(job, level) for level in (0.0, 0.8, 2.0)]
    always, high, never = (one.latents[9:] for one in video.run(generator, jobs, settings=led))
    (plain,) = video.run(generator, [job], settings=SETTINGS)
    np.testing.assert_allclose(never, plain.latents[9:], atol=2e-4)
    assert min(np.abs(a - b).max() for a, b in ((always, high), (high, never))) > 1e-2
    tail = video.Video(latents=long.latents[-3:], fps=FPS)
    with pytest.raises(ValueError, match="a memory wants the video's first latent"):
        extend.extend(generator, tail, prompt=PROMPT, latents=2, before=6)


def made_level(job, level):
    return dataclasses.replace(job, request=dataclasses.replace(job.request, context_level=level))


def test_windows_remember_what_an_extension_of_the_whole_would(generator):
    ask = {"prompt": PROMPT, "seed": 7}
    size = {"height": SIDE, "width": SIDE, "fps": FPS}
    pieces = list(stream.windows(generator, SETTINGS, latents=9, window=5, context=2, **ask, **size))
    assert [len(piece) for piece in pieces] == [5, 2, 2]
    so_far = video.Video(latents=np.concatenate(pieces[:2]), fps=FPS)
    job = extend.extend(generator, so_far, latents=2, context=2, **ask)
    assert job.request.anchored
    (whole,) = video.run(generator, [job], settings=SETTINGS)
    np.testing.assert_allclose(whole.latents[7:], pieces[2], atol=2e-4)
    with pytest.raises(ValueError, match="a context of 4 latents and a memory of 1 in a window of 5"):
        next(stream.windows(generator, SETTINGS, latents=9, window=5, context=4, **ask, **size))


def test_windows_join_to_the_plain_video_and_stream_to_its_frames(generator, made, tmp_path):
    ask = {"prompt": PROMPT, "height": SIDE, "width": SIDE, "fps": FPS, "seed": 7}
    (whole,) = stream.windows(generator, SETTINGS, latents=5, window=5, context=2, **ask)
    np.testing.assert_allclose(whole, made["text"].latents, atol=2e-4)
    pieces = list(stream.windows(generator, SETTINGS, latents=9, window=5, context=2, memory=False, **ask))
    assert [len(piece) for piece in pieces] == [5, 3, 1]
    np.testing.assert_array_equal(pieces[0], whole)
    joined = video.Video(latents=np.concatenate(pieces), fps=FPS, dropped=1)
    streamed = list(stream.frames_of(generator, pieces, dropped=1))
    # The bytes are equal, but where the value before rounding lies on the border between two.
    frozen = generator.autoencoder
    latents = autoencoder_latents.denormalise(joined.latents[None], frozen.statistics)
    exact = frozen.model.apply({"params": frozen.params}, latents, method="decode")
    exact = np.clip(np.asarray(exact)[0, :-1] * 127.5 + 127.5, 0, 255)
    border = np.abs(exact % 1 - 0.5) < 1e-3
    assert border.mean() < 0.01
    np.testing.assert_array_equal(np.stack(streamed)[~border], video.decode(generator, joined)[~border])
    assert np.abs(np.stack(streamed) - exact).max() < 0.5 + 1e-3


def test_an_interrupted_stream_leaves_a_valid_shorter_file(clips, tmp_path):
    def frames(until: int):
        for number, frame in enumerate(clips[0]):
            if number == until:
                raise KeyboardInterrupt
            yield frame

    with pytest.raises(KeyboardInterrupt):
        video_files.write_mp4(tmp_path / "cut.mp4", frames(10), fps=FPS, growing=True)
    found, fps = video_files.read_video(tmp_path / "cut.mp4")
    assert found.shape == (10, SIDE, SIDE, 3) and fps == FPS
    assert np.abs(found.astype(int) - clips[0][:10]).mean() < 8


def test_a_killed_stream_leaves_a_valid_shorter_file(tmp_path):
    """kill -9: nothing of the process' own runs any more, and all but the last second can be played."""
    script = """
import sys, time
import numpy as np
from sora_jax.data import video_files

def frames():
    for number in range(10_000):
        yield np.full((32, 32, 3), number % 250, np.uint8)
        print(number, flush=True)
        time.sleep(0.002)

video_files.write_mp4(sys.argv[1], frames(), fps=8, growing=True)
"""
    path = tmp_path / "killed.mp4"
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 200:
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL
    found, fps = video_files.read_video(path)
    assert fps == 8 and 100 < len(found) < 10_000
    shown = found.astype(int).mean((1, 2, 3))
    assert np.abs(shown - np.arange(len(found)) % 250).max() < 4


def test_context_guidance_changes_what_is_made_and_not_what_is_known(generator, given, made):
    jobs = [
        extend.extend(generator, given[0], prompt=PROMPT, latents=2),
        create.text_to_video(
            generator, prompt=PROMPT, frames=FRAMES, height=SIDE, width=SIDE, fps=FPS, seed=7
        ),
    ]
    led = dataclasses.replace(SETTINGS, context_scale=3.0)
    extended, plain = video.run(generator, jobs, settings=led)
    np.testing.assert_array_equal(extended.latents[:5], given[0].latents)
    assert np.abs(extended.latents[5:] - made["extend"].latents[5:]).max() > 1e-3
    np.testing.assert_allclose(plain.latents, made["text"].latents, atol=2e-4)  # it has no context


def test_context_noise_changes_what_is_made_and_not_what_is_known(generator, given, made):
    job = extend.extend(generator, given[0], prompt=PROMPT, latents=2)
    noisy = dataclasses.replace(SETTINGS, context_noise=0.2)
    (found,) = video.run(generator, [job], settings=noisy)
    np.testing.assert_array_equal(found.latents[:5], given[0].latents)
    assert np.abs(found.latents[5:] - made["extend"].latents[5:]).max() > 1e-3


def test_what_cannot_be_done_is_said(generator, given, clips, mask):
    a = given[0]
    short = dataclasses.replace(a, latents=a.latents[:2])
    with pytest.raises(ValueError, match="has 5 frames, and a context of 3 latents needs 9"):
        extend.extend(generator, short, prompt=PROMPT, latents=2)
    with pytest.raises(ValueError, match="has 5 frames, and a context of 3 latents needs 13"):
        connect.loop(generator, short, prompt=PROMPT, latents=2)
    with pytest.raises(ValueError, match=r"mask has shape \(16, 48, 48\), the video \(17, 48, 48\)"):
        edit.inpaint(generator, a, mask[:16], prompt=PROMPT)
    with pytest.raises(ValueError, match="bring them to one size and rate"):
        connect.connect(generator, a, dataclasses.replace(a, fps=12.0), prompt=PROMPT, latents=2)
    with pytest.raises(ValueError, match="a ramp of 3 latents in a context of 3"):
        connect.connect(generator, a, a, prompt=PROMPT, latents=2, ramp=(0.2, 0.4, 0.6))
    with pytest.raises(ValueError, match=r"strength 1.2 is outside \[0, 1\]"):
        edit.edit(generator, a, prompt=PROMPT, strength=1.2)
    with pytest.raises(ValueError, match=r"keyframes .*17.* of a video of frames 0 to 16"):
        edit.keyframes(generator, {17: clips[0][0]}, prompt=PROMPT, frames=17, fps=FPS)
    with pytest.raises(ValueError, match="is not within 48 x 64 pixels"):
        edit.outpaint(generator, clips[0], fps=FPS, height=48, width=64, left=32, prompt=PROMPT)
    with pytest.raises(ValueError, match="a caption starts at 3 s, the video ends at 2 s"):
        shots = [(0.0, PROMPT), (3.0, "a red circle")]
        job = create.storyboard(generator, shots=shots, frames=17, height=SIDE, width=SIDE, fps=FPS)
        video.run(generator, [job], settings=SETTINGS)
    with pytest.raises(ValueError, match="join its latents to those"):
        ext = extend.extend(generator, a, prompt=PROMPT, latents=2)
        generate.generate(generator, [ext.request], settings=SETTINGS)
