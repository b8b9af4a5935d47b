import numpy as np
import pytest

from sora_jax.data import video_files


@pytest.fixture(scope="module")
def video():
    """A smooth ramp of colours whose mean brightens frame by frame."""
    rows, columns = np.mgrid[:48, :64]
    frames = [np.stack([rows * 2 + 4 * f, columns + 4 * f, 0 * rows + 80], -1) for f in range(9)]
    return np.stack(frames).astype(np.uint8)


@pytest.mark.parametrize("suffix, tolerance", [(".mp4", 1.8), (".gif", 1.8)])  # a shift by one frame is 2.4
def test_a_written_video_is_read_back_frame_for_frame(tmp_path, video, suffix, tolerance):
    path = video_files.write_video(tmp_path / f"new folder/clip{suffix}", video, fps=8)
    back, fps = video_files.read_video(path)
    assert back.shape == video.shape and fps == pytest.approx(8, rel=0.05)
    assert np.abs(back.astype(float) - video).mean() < tolerance
    # Each frame is 8/3 brighter than the one before.
    np.testing.assert_allclose(np.diff(back.mean(axis=(1, 2, 3))), 8 / 3, atol=1.0)


def test_an_image_is_lossless_as_png(tmp_path, video):
    back, _ = video_files.read_video(video_files.write_video(tmp_path / "a.png", video[:1], fps=8))
    np.testing.assert_array_equal(back, video[:1])


def test_bad_paths_are_told(tmp_path, video):
    with pytest.raises(ValueError, match=r"\.avi.*use one of"):
        video_files.write_video(tmp_path / "a.avi", video, fps=8)
    with pytest.raises(ValueError, match="can hold 1 frame, not 9"):
        video_files.write_video(tmp_path / "a.png", video, fps=8)
