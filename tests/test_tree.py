"""Paths and rules."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import tree


class Pair(NamedTuple):
    first: object
    second: object


TREE = {"block": Pair({"kernel": jnp.ones((2, 3))}, [jnp.zeros(5), jnp.zeros(7)]), "scale": jnp.ones(())}
PATHS = ["block/first/kernel", "block/second/0", "block/second/1", "scale"]


def test_paths_and_back():
    leaves = tree.flatten(TREE)
    assert list(leaves) == PATHS
    rebuilt = tree.unflatten(TREE, dict(reversed(leaves.items())))
    assert isinstance(rebuilt["block"], Pair) and rebuilt["block"].second[1] is TREE["block"].second[1]
    with pytest.raises(KeyError, match=r"\['scale'\] are missing and \['scales'\] are not expected"):
        tree.unflatten(TREE, {**{path: leaves[path] for path in PATHS[:3]}, "scales": 0})
    assert tree.count(TREE) == 2 * 3 + 5 + 7 + 1


def test_map_with_path():
    result = tree.map_with_path(lambda path, x, y: (path, x.size + y.size), TREE, TREE)
    assert result["block"].second == [(PATHS[1], 10), (PATHS[2], 14)]


def test_first_match_wins():
    values = tree.match([("second/1$", "a"), ("^block", "b"), (".*", "c")], PATHS, what="rules")
    assert values == dict(zip(PATHS, "bbac", strict=True))
    by_tree = tree.match_tree([("second/1$", 1), (".*", None)], TREE, what="rules")
    assert by_tree["block"].second == [None, 1] and by_tree["scale"] is None


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([("kernels$", 1), (".*", 2)], r"decay: 'kernels\$' matches no path.*block/first/kernel"),
        ([("block", 1)], "decay: no rule matches 'scale'"),
        ([("(", 1)], r"decay: '\(' is not a regular expression"),
    ],
)
def test_rules_are_total_and_alive(rules, message):
    with pytest.raises(ValueError, match=message):
        tree.match(rules, PATHS, what="decay")


def test_a_shadowed_rule_is_alive():
    # "matches nothing" means that its expression does, whatever rules stand before it: defaults end with
    # ".*".
    values = tree.match([("block", 1), ("scale", 2), (".*", 3)], PATHS, what="rules")
    assert set(values.values()) == {1, 2}
    np.testing.assert_equal(len(values), 4)


def test_growing_keeps_what_was_trained_and_names_what_does_not_fit():
    trained = {"block": {"kernel": jnp.full((2, 3), 7.0)}}
    fresh = {"block": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(5)}, "scale": jnp.ones(())}
    grown = tree.grow(trained, fresh)
    assert grown["block"]["kernel"] is trained["block"]["kernel"]
    assert grown["block"]["bias"] is fresh["block"]["bias"] and grown["scale"] is fresh["scale"]
    with pytest.raises(ValueError, match=r"block/kernel of shape \(2, 5\) has shape \(2, 3\)"):
        tree.grow({"block": {"kernel": jnp.ones((2, 5))}}, fresh)
    with pytest.raises(ValueError, match=r"gain of shape .* does not exist"):
        tree.grow({"gain": jnp.ones(2)}, fresh)
