"""Decoding in chunks needs the memory of a chunk, however long the video."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Decodes noise of so many seconds, 16 frames/s at 64 x 64, to a file; prints the process' peak in MiB.
DECODE = """
import resource, sys, numpy as np
from sora_jax import build
from sora_jax.data import video_files
from sora_jax.sampling import stream
seconds, path = int(sys.argv[1]), sys.argv[2]
generator, _ = build.load_generator("gpu-128px")
latents = 1 + seconds * 4
draw = np.random.default_rng(0)
sizes = [9] + [6] * ((latents - 9) // 6)
chunks = (draw.normal(size=(n, 8, 8, 16)).astype(np.float32) for n in sizes)
frames = video_files.write_mp4(path, stream.frames_of(generator, chunks), fps=16.0, growing=True)
print(frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_a_minute_takes_no_more_memory_than_ten_seconds(tmp_path):
    peaks = {}
    for seconds in (10, 60):
        done = subprocess.run(
            [sys.executable, "-c", DECODE, str(seconds), str(tmp_path / "video.mp4")],
            capture_output=True,
            text=True,
            check=True,
        )
        frames, peak = done.stdout.split()
        assert int(frames) > 15 * seconds
        peaks[seconds] = float(peak)
    print(f"peak MiB by seconds of video: {peaks}")
    assert peaks[60] < 1.05 * peaks[10]
