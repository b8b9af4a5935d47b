"""Distances of feature sets against closed forms; features of videos, from files to rows."""

from __future__ import annotations

import json
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from sora_jax import build
from sora_jax.data.manifest import TooManyBadError
from sora_jax.data.video_files import write_video
from sora_jax.evaluation import distances, video_features
from sora_jax.worlds.source import WorldSource


def gaussian(n: int, d: int, *, mean: float = 0.0, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return mean + scale * np.random.default_rng(seed).standard_normal((n, d))


def covariance(d: int, seed: int) -> np.ndarray:
    root = np.random.default_rng(seed).standard_normal((d, d))
    return root @ root.T / d


def test_frechet_of_gaussians_that_commute_is_the_distance_of_their_deviations():
    mean, other = np.array([1.0, 0, 2]), np.array([0.0, 0, 2])
    a, b = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 4.0, 1.0])
    assert distances.frechet_of_moments(mean, a, other, b) == pytest.approx(
        1 + (1 - 2) ** 2 + 0 + (3 - 1) ** 2
    )
    assert distances.frechet_of_moments(mean, a, mean, a) == pytest.approx(0, abs=1e-12)


def test_frechet_of_gaussians_that_do_not_commute_is_that_of_the_matrix_square_root():
    a, b, mean = covariance(7, 1), covariance(7, 2), np.zeros(7)
    root = scipy.linalg.sqrtm(a @ b)
    expected = np.trace(a + b - 2 * np.real(root))
    assert distances.frechet_of_moments(mean, a, mean, b) == pytest.approx(expected, rel=1e-8)


def test_frechet_is_exact_of_singular_covariances():
    # Two lines at an angle: C = u u^T, C' = w w^T, and tr (C^(1/2) C' C^(1/2))^(1/2) = |u . w|.
    u, w = np.array([1.0, 2.0, 0, 0]), np.array([2.0, 1.0, 0, 0])
    got = distances.frechet_of_moments(np.zeros(4), np.outer(u, u), np.zeros(4), np.outer(w, w))
    assert got == pytest.approx(5 + 5 - 2 * 4)
    # Fewer samples than dimensions: a set from itself, shifted.
    few = gaussian(5, 40)
    assert distances.frechet_distance(few, few) == pytest.approx(0, abs=1e-10)
    assert distances.frechet_distance(few, few + 0.5) == pytest.approx(40 * 0.25)
    with pytest.raises(ValueError, match="symmetric PSD"):
        distances.frechet_of_moments(np.zeros(2), np.diag([1.0, -1.0]), np.zeros(2), np.eye(2))


def test_frechet_of_samples_is_that_of_their_moments_whatever_their_number():
    for n in (4, 300):
        a, b = gaussian(n, 6, seed=1), gaussian(n, 6, mean=0.3, scale=1.5, seed=2)
        moments = [(x.mean(axis=0), np.cov(x.T)) for x in (a, b)]
        expected = distances.frechet_of_moments(*moments[0], *moments[1])
        assert distances.frechet_distance(a, b) == pytest.approx(expected, rel=1e-7)


def test_the_curve_falls_as_one_over_n_and_its_limit_is_the_truth():
    d, n = 8, 400
    a, b = gaussian(n, d, seed=1), gaussian(n, d, mean=0.25, seed=2)
    truth = d * 0.25**2
    bias = d * (d + 5) / 2  # of 1 / n: 2 d of the means, d (d + 1) / 2 of the covariances
    curve = distances.sample_size_curve(distances.frechet_distance, a, b, repeats=2)
    assert curve[0][0] == 100 and curve[-1][0] == 400
    sizes, means = np.array([60, 120, 240]), []
    for size in sizes:
        values = [
            distances.frechet_distance(gaussian(size, d, seed=k), gaussian(size, d, mean=0.25, seed=900 + k))
            for k in range(60)
        ]
        means.append(np.mean(values))
    assert np.allclose((np.array(means) - truth) * sizes, bias, rtol=0.25)
    extrapolated = distances.limit(tuple(zip(sizes.tolist(), means, strict=True)))
    assert abs(extrapolated - truth) < 0.1 * (means[-1] - truth) + 0.02


def test_limit_of_a_line_over_one_over_n_is_its_intercept():
    assert distances.limit([(n, 0.7 + 5 / n) for n in (10, 20, 40)]) == pytest.approx(0.7)
    assert distances.limit([(10, 0.3)]) == 0.3


def test_the_kernel_distance_has_no_bias_where_frechet_has():
    values, frechet = [], []
    for k in range(200):
        a, b = gaussian(12, 5, seed=k), gaussian(12, 5, seed=1000 + k)
        values.append(distances.kernel_distance(a, b))
        frechet.append(distances.frechet_distance(a, b))
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error
    assert np.mean(frechet) > 20 * np.std(frechet) / np.sqrt(len(frechet))


def test_the_kernel_distance_is_that_of_a_loop():
    a, b = gaussian(5, 3, seed=1), gaussian(7, 3, seed=2)

    def k(x, y):
        return (x @ y / 3 + 1) ** 3

    inside = [
        np.mean([k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (a, b)
    ]
    across = np.mean([k(x, y) for x in a for y in b])
    assert distances.kernel_distance(a, b) == pytest.approx(sum(inside) - 2 * across)


def test_the_rbf_distance_of_gaussians_is_its_closed_form():
    # E k(x, y) of x ~ N(0, 1), y ~ N(m, 1), bandwidth s: s / sqrt(s^2 + 2) exp(-m^2 / (2 (s^2 + 2))).
    m, s = 1.5, 1.2
    truth = 2 * s / np.sqrt(s**2 + 2) * (1 - np.exp(-(m**2) / (2 * (s**2 + 2))))
    got = distances.kernel_distance(
        gaussian(1500, 1, seed=1), gaussian(1500, 1, mean=m, seed=2), kernel=distances.rbf_kernel(s)
    )
    assert got == pytest.approx(truth, abs=4 * 0.02)
    assert distances.median_bandwidth(np.array([[0.0], [1.0], [3.0]])) == 2


def test_floor_and_interval_cover_equal_sets_and_leave_out_different_ones():
    real, same, other = gaussian(120, 6, seed=1), gaussian(120, 6, seed=2), gaussian(120, 6, mean=0.6, seed=3)
    alike, apart = distances.compare(real, same, draws=80), distances.compare(real, other, draws=80)
    assert set(alike) == {"frechet", "kernel", "kernel rbf"}
    for name in ("kernel", "kernel rbf"):
        assert (
            alike[name].low < 0.01 and apart[name].low > 0 and apart[name].value > 10 * abs(alike[name].value)
        )
        assert alike[name].low < alike[name].value < alike[name].high
    frechet = alike["frechet"]
    assert frechet.low <= frechet.value <= frechet.high
    # At one size, equal sets are as far apart as halves of one; more samples bring them nearer.
    assert frechet.floor_low < frechet.at_floor_size < frechet.floor_high
    assert frechet.value < frechet.floor
    assert apart["frechet"].at_floor_size > apart["frechet"].floor_high
    # What lies between the drawn means, less what chance adds to it: 2 d / n.
    between = ((real.mean(axis=0) - other.mean(axis=0)) ** 2).sum() - 2 * 6 / 120
    assert apart["frechet"].limit == pytest.approx(between, rel=0.1)
    assert alike["frechet"].limit < 0.3 * alike["frechet"].value


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    truth, inside = 4 * 0.5**2, 0
    for k in range(24):
        a, b = gaussian(150, 4, seed=k), gaussian(150, 4, mean=0.5, seed=100 + k)
        low, high = distances.frechet_interval(a, b, draws=50)
        bias = 4 * 9 / 2 / 150
        inside += low <= truth + bias <= high
    assert inside >= 19  # of 24; 95 % is 22.8, and 19 lies 3.5 standard errors below


def test_the_interval_holds_the_value_where_the_bias_of_drawing_again_is_large():
    # Drawn again, 60 samples in 20 dimensions lie further apart by about their own bias, 20 * 25 / 120.
    a, b = gaussian(60, 20, seed=1), gaussian(60, 20, seed=2)
    low, high = distances.frechet_interval(a, b, draws=60)
    assert low < distances.frechet_distance(a, b) < high and high - low < 20 * 25 / 120


def test_the_refusals():
    with pytest.raises(ValueError, match=r"\(9, 3\) and \(9, 4\)"):
        distances.frechet_distance(gaussian(9, 3), gaussian(9, 4))
    with pytest.raises(ValueError, match="at least 8"):
        distances.compare(gaussian(7, 3), gaussian(9, 3))
    with pytest.raises(ValueError, match="not finite"):
        distances.kernel_distance(np.full((4, 2), np.nan), gaussian(4, 2))


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    source = WorldSource(seed=8, length=20, frames={9: 1.0}, sizes={(32, 32): 1.0}, families={"uniform": 1.0})
    return [source[k].video for k in range(len(source))]


@pytest.fixture(scope="module")
def latents():
    return video_features.autoencoder_features(build.load_autoencoder("gpu-128px"))


def test_features_of_a_video_do_not_depend_on_its_batch(clips, latents):
    together = latents.extract(clips)
    assert together.shape == (20, 48)
    alone = np.concatenate([latents.extract([clip]) for clip in clips[:3]])
    assert np.allclose(together[:3], alone, atol=1e-5)
    assert np.allclose(latents.extract(clips[::-1])[::-1], together, atol=1e-5)
    assert np.ptp(together, axis=0).min() > 1e-3  # no number is the same of all


def test_features_see_the_order_of_frames_and_refuse_a_size(clips, latents):
    shuffled = [clip[[0, 5, 2, 7, 4, 1, 6, 3, 8]] for clip in clips]
    forward, mixed = latents.extract(clips), latents.extract(shuffled)
    assert distances.frechet_distance(forward, mixed) > 0.5
    with pytest.raises(ValueError, match="8 frames of 32 x 32"):
        latents.extract([clips[0][:8]])
    sized = video_features.autoencoder_features(build.load_autoencoder("gpu-128px"), size=(9, 32, 32))
    assert np.allclose(sized.extract([clips[0]]), forward[:1], atol=1e-5)
    assert sized.extract([clips[0][:8, :25]]).shape == (1, 48)


def test_pooled_latents_worked_out_by_hand():
    values = np.zeros((2, 1, 2, 1))
    values[1] = [[[2.0], [4.0]]]
    assert video_features.pooled(values) == pytest.approx([1.5, np.std([0, 0, 2, 4]), np.sqrt((4 + 16) / 2)])
    assert video_features.pooled(values[:1])[2] == 0


NETWORK = """
import numpy as np

def load(folder):
    return lambda x: np.concatenate([x[:, 0].mean(axis=(1, 2)), x[:, -1].mean(axis=(1, 2))], axis=-1)
"""


def write_network(folder, **changes) -> None:
    """Mean colour of the first and of the last frame, in batches of 3."""
    (folder / "net.py").write_text(NETWORK)
    table = {
        "name": "mean colour",
        "kind": "python",
        "file": "net.py",
        "batch": 3,
        "layout": "bfhwc",
        "frames": 4,
        "height": 16,
        "width": 24,
        "low": 0.0,
        "high": 1.0,
    }
    table = {name: value for name, value in (table | changes).items() if value is not None}
    (folder / "features.json").write_text(json.dumps(table))


def test_a_network_gives_the_features_of_a_folder(tmp_path, clips):
    write_network(tmp_path)
    features = video_features.load_features(tmp_path)
    assert features.name == "mean colour, 4x16x24"
    got = features.extract(clips[:7])  # two batches of three, and one filled up
    expected = [np.concatenate([c[k].reshape(-1, 3).mean(axis=0) / 255 for k in (0, -1)]) for c in clips[:7]]
    assert got.shape == (7, 6) and np.allclose(got, expected, atol=0.01)
    assert np.allclose(features.extract(clips[4:5]), got[4:5], atol=1e-6)


def test_an_exported_network_is_called_with_the_layout_and_range_it_asks_for(tmp_path, clips):
    pytest.importorskip("flatbuffers")

    def network(x):
        return jnp.stack([x.min(axis=(1, 2, 3, 4)), x[:, 0].mean(axis=(1, 2, 3))], axis=-1)

    exported = jax.export.export(jax.jit(network))(jax.ShapeDtypeStruct((3, 3, 4, 16, 24), jnp.float32))
    (tmp_path / "net.bin").write_bytes(exported.serialize())
    write_network(tmp_path, kind="jax_export", file="net.bin", layout="bcfhw", low=-1.0)
    dark = np.zeros_like(clips[0])
    dark[..., 0] = 255  # all red
    got = video_features.load_features(tmp_path).extract([dark])
    assert got == pytest.approx(np.array([[-1.0, 1.0]]))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"frames": None}, ValueError, "missing fields .'frames'."),
        ({"size": 3}, ValueError, "unknown ones .'size'."),
        ({"kind": "onnx"}, ValueError, "python, torchscript, jax_export"),
        ({"layout": "bchwf"}, ValueError, "bfhwc, bcfhw"),
        ({"batch": 0}, ValueError, "batch 0"),
        ({"file": "other.bin"}, FileNotFoundError, "other.bin"),
    ],
)
def test_a_feature_folder_that_is_not_right_is_refused(tmp_path, changes, error, message):
    write_network(tmp_path, **changes)
    with pytest.raises(error, match=message):
        video_features.load_features(tmp_path)


@pytest.mark.parametrize(("kind", "package"), [("torchscript", "torch"), ("jax_export", "flatbuffers")])
def test_a_network_whose_package_is_missing_says_what_to_do(tmp_path, monkeypatch, kind, package):
    write_network(tmp_path, kind=kind)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install {package}"):
        video_features.load_features(tmp_path)


def test_a_folder_without_a_table_or_a_module_without_load_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"features\.json"):
        video_features.load_features(tmp_path)
    write_network(tmp_path)
    (tmp_path / "net.py").write_text("")
    with pytest.raises(ValueError, match=r"load\(folder\)"):
        video_features.load_features(tmp_path)


def test_two_folders_are_compared_and_what_cannot_be_read_is_counted(tmp_path, clips):
    for name, some in (("real", clips[:11]), ("generated", [c[::-1] for c in clips[9:]])):
        for k, clip in enumerate(some):
            (tmp_path / name).mkdir(exist_ok=True)
            write_video(tmp_path / name / f"{k:02}.mp4", clip, fps=8)
        (tmp_path / name / "manifest.jsonl").write_text("{}\n")
    write_network(tmp_path)
    features = video_features.load_features(tmp_path)
    table = distances.compare_videos(tmp_path / "real", tmp_path / "generated", features=features, draws=20)
    assert (table["real"], table["generated"], table["unreadable"]) == (11, 11, [])
    direct = distances.compare_videos(clips[:11], [c[::-1] for c in clips[9:]], features=features, draws=20)
    got, exact = (t["distances"]["frechet"]["value"] for t in (table, direct))
    assert got == pytest.approx(exact, rel=0.2)  # to within the compression
    json.dumps(table)
    (tmp_path / "real" / "05.mp4").write_bytes(b"nothing")
    table = distances.compare_videos(tmp_path / "real", tmp_path / "generated", features=features, draws=20)
    assert table["real"] == 10 and table["unreadable"] == [str(tmp_path / "real" / "05.mp4")]
    (tmp_path / "real" / "06.mp4").write_bytes(b"nothing")
    with pytest.raises(TooManyBadError, match="2 of 11"):
        distances.compare_videos(tmp_path / "real", tmp_path / "generated", features=features)
    with pytest.raises(FileNotFoundError, match="no video"):
        distances.compare_videos(tmp_path, tmp_path, features=features)
