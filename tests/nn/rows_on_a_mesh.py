"""Rows on several devices beside plain attention on one: run by `test_kernels`, with eight CPU devices.

Rows of 512 tokens: two devices hold parts of one segment, one holds several and padding. Prints, per kernel,
the largest differences of (output, and the gradients of query, key and value), and whether padding is 0.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.nn.attention import attend
from sora_jax.nn.chunked import chunked_attention
from sora_jax.nn.ring import ring_attention
from sora_jax.nn.ring_splash import ring_splash_attention
from sora_jax.sharding import context
from sora_jax.sharding.mesh import make_mesh

B, N, K, D = 2, 512, 2, 64


def main() -> None:
    rng = np.random.default_rng(0)
    borders = np.searchsorted([70, 300, 450], np.arange(N), side="right") + 1
    segment = jnp.asarray(np.stack([np.where(borders > 3, 0, borders), np.ones(N, int)]), jnp.int32)
    query, key, value, cotangent = (
        jnp.asarray(2 * rng.normal(size=(B, N, K, D)), jnp.float32) for _ in range(4)
    )

    def both_passes(attention):
        @jax.jit
        def run(query, key, value):
            out, pull = jax.vjp(attention, query, key, value)
            return out, *pull(cotangent)

        return [np.asarray(x) for x in run(query, key, value)]

    def plain(query, key, value):
        return attend(query, key, value, query_segment=segment, key_segment=segment, scale=0.2)

    def ring(query, key, value):
        return ring_attention(query, key, value, segment=segment, scale=0.2)

    def ring_splash(query, key, value):
        return ring_splash_attention(query, key, value, segment=segment, scale=0.2, interpret=True)

    def chunked(query, key, value):
        return chunked_attention(query, key, value, segment=segment, scale=0.2)

    want, padding = both_passes(plain), np.asarray(segment) == 0
    said, found = {}, {}
    with context.use(make_mesh(data=2, context=4)):
        for name, attention in (("ring", ring), ("ring_splash", ring_splash), ("chunked", chunked)):
            found[name] = both_passes(attention)
    with context.use(make_mesh(data=2, tensor=1, context=2, fsdp=2)):
        found["chunked, heads exchanged"] = both_passes(chunked)
    for name, arrays in found.items():
        apart = [float(np.abs(a - b).max()) for a, b in zip(arrays, want, strict=True)]
        said[name] = {"apart": apart, "zero": all(bool((x[padding] == 0).all()) for x in arrays)}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
