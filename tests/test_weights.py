import jax
import numpy as np
import pytest

from sora_jax import rng, weights


@pytest.fixture
def tree():
    draw = rng.host(0, "tree")
    return {"a": {"kernel": draw.normal(size=(3, 5)), "bias": draw.normal(size=5)}, "b": draw.normal(size=7)}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_saved_tree_comes_back_rounded_and_a_second_save_changes_nothing(tmp_path, tree, dtype):
    path = tmp_path / "new" / "w.safetensors"
    weights.save(path, tree, dtype=dtype)
    back = weights.load(path)
    jax.tree.map(np.testing.assert_array_equal, back, weights.rounded(tree, dtype=dtype))
    weights.save(path, back, dtype=dtype)
    jax.tree.map(np.testing.assert_array_equal, weights.load(path), back)


def test_a_truncated_file_is_named(tmp_path, tree):
    path = tmp_path / "w.safetensors"
    weights.save(path, tree)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"w\.safetensors.*export it again"):
        weights.load(path)
    with pytest.raises(FileNotFoundError, match="none"):
        weights.load(tmp_path / "none")
