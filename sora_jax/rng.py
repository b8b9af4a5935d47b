"""Named random streams: every draw is a pure function of (seed, names).

A key is used or split, never both; two draws with different names are independent.
"""

from __future__ import annotations

import hashlib

import jax
import numpy as np

from sora_jax.types import Key


def _number(name: str | int) -> int:
    """A stable 32-bit number for a name: integers below 2**32 stand for themselves."""
    if isinstance(name, str):
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "little")
    if not 0 <= name < 2**32:
        raise ValueError(f"stream number {name} is outside [0, 2**32)")
    return int(name)


def key(seed: int, *names: str | int | jax.Array) -> Key:
    """The typed JAX key of the stream `names` under `seed`.

    Names may be strings, non-negative integers or traced integer arrays (a step counter, say):
    `key(seed, "noise", step)`.
    """
    stream = jax.random.key(seed)
    for name in names:
        number = name if isinstance(name, jax.Array) else _number(name)
        stream = jax.random.fold_in(stream, number)
    return stream


def host(seed: int, *names: str | int) -> np.random.Generator:
    """The NumPy generator of the stream `names` under `seed`; the same in every process."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *map(_number, names)])))
