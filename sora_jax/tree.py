"""Paths into a tree of arrays, and ordered rules over them.

A path is the keys from the root, joined by "/": `blocks/attention/query/kernel`. A rule is a pair (regular
expression, value); the first rule whose expression is found in a path (`re.search`) gives that path its
value. Rules are total and alive: a path that no rule matches, or a rule that matches no path, is an error.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax

Value = TypeVar("Value")
Rules = Sequence[tuple[str, Value]]


def path_of(key_path: Sequence[Any]) -> str:
    """The "/"-joined path of a JAX key path; sequence positions and field names are keys like any other."""
    return jax.tree_util.keystr(tuple(key_path), simple=True, separator="/")


def flatten(tree: Any) -> dict[str, Any]:
    """Path -> leaf, in the tree's own order."""
    return {path_of(key_path): leaf for key_path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def map_with_path(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """`jax.tree.map` whose function also gets the path: `function(path, leaf, *leaves of rest)`."""
    return jax.tree_util.tree_map_with_path(
        lambda key_path, *leaves: function(path_of(key_path), *leaves), tree, *rest
    )


def unflatten(like: Any, leaves: dict[str, Any]) -> Any:
    """A tree built as `like` from path -> leaf.

    Raises:
      KeyError: the two do not have the same paths.
    """
    wanted = flatten(like)
    missing = [path for path in wanted if path not in leaves]
    extra = [path for path in leaves if path not in wanted]
    if missing or extra:
        raise KeyError(f"the trees differ: {missing[:4]} are missing and {extra[:4]} are not expected")
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[path] for path in wanted])


def grow(trained: Any, fresh: Any) -> Any:
    """The arrays of `trained` in their places in a tree that may be larger, `fresh`.

    So a run starts from a smaller model's weights: where what `fresh` adds computes zero (a last layer of
    zeros), the larger model computes what the smaller one did.

    Raises:
      ValueError: `trained` has an array that `fresh` has not, or of another shape.
    """
    old, new = flatten(trained), flatten(fresh)
    for path, array in old.items():
        if path not in new or new[path].shape != array.shape:
            has = f"has shape {new[path].shape}" if path in new else "does not exist"
            raise ValueError(f"array {path} of shape {array.shape} {has} in the tree to start")
    return unflatten(fresh, {**new, **old})


def match(rules: Rules[Value], paths: Sequence[str], *, what: str) -> dict[str, Value]:
    """Path -> value of the first rule whose expression is found in it.

    Args:
      rules: ordered (regular expression, value) pairs.
      paths: what must be covered.
      what: the rules' name in an error, e.g. "decay_rules".

    Raises:
      ValueError: a path that no rule matches, a rule that matches no path, or an invalid expression.
    """
    compiled = []
    for pattern, value in rules:
        try:
            compiled.append((re.compile(pattern), value))
        except re.error as error:
            raise ValueError(f"{what}: {pattern!r} is not a regular expression: {error}") from error
    for expression, _ in compiled:
        if not any(expression.search(path) for path in paths):
            nearest = difflib.get_close_matches(expression.pattern, paths, n=3, cutoff=0.0)
            raise ValueError(
                f"{what}: {expression.pattern!r} matches no path; mend or remove it (nearest: {nearest})"
            )
    result = {}
    for path in paths:
        for expression, value in compiled:
            if expression.search(path):
                result[path] = value
                break
        else:
            raise ValueError(f"{what}: no rule matches {path!r}: add one, or end the rules with ('.*', ...)")
    return result


def match_tree(rules: Rules[Value], tree: Any, *, what: str) -> Any:
    """`match` over the leaves of a tree: the same tree with each leaf's value in its place."""
    paths = list(flatten(tree))
    values = match(rules, paths, what=what)
    return jax.tree.unflatten(jax.tree.structure(tree), [values[path] for path in paths])


def count(tree: Any) -> int:
    """Number of array elements in the tree."""
    return sum(int(leaf.size) for leaf in jax.tree.leaves(tree))
