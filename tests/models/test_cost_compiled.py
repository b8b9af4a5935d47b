"""The FLOPs that a scaling law is drawn against: the formula, and what the compiler says of the same step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import build, tree
from sora_jax.diffusion.objective import Objective
from sora_jax.models.cost import count_nonembedding, count_parameters, count_training_flops
from sora_jax.models.text import TextEncoder
from sora_jax.models.text import family as text_family
from sora_jax.models.transformer import Transformer, family
from sora_jax.sharding import plan_hlo
from sora_jax.types import PackedBatch

ROWS, TOKENS, TEXT, PATCH = 8, 180, 112, 16
SHAPE = {"rows": ROWS, "tokens": TOKENS, "text": TEXT}
EMBEDDINGS = ("tokenizer/", "noise_level/in/", "text_encoder/embedding", "text_encoder/relative_bias")


def member(width: int, **changes) -> Transformer:
    """The ladder's model of a width."""
    shape = family(width=width, depth=3, heads=2)
    encoder = TextEncoder(**text_family(**{name: shape[name] for name in ("width", "heads", "hidden")}))
    return Transformer(
        **{"patch_width": PATCH, "text_encoder": encoder, "levels": 2, "scan": False, **shape, **changes}
    )


def batch_of(text: jax.ShapeDtypeStruct) -> PackedBatch:
    """A batch that is only shapes."""

    def shape(*sides, dtype=jnp.int32):
        return jax.ShapeDtypeStruct((ROWS, *sides), dtype)

    return PackedBatch(
        tokens=shape(TOKENS, PATCH, dtype=jnp.float32),
        position=shape(TOKENS, 3, dtype=jnp.float32),
        segment=shape(TOKENS),
        known=shape(TOKENS, dtype=jnp.bool_),
        index=shape(TOKENS, 3),
        clip=shape(1, dtype=jnp.uint32),
        grid=shape(1, 3),
        text=text,
        text_segment=shape(TEXT),
        span=shape(TOKENS),
        text_span=shape(TEXT),
    )


def step_of(model: Transformer):
    """Loss and gradients of one step of rectified flow, lowered, and the parameters' shapes."""
    given = model.text_encoder is None
    side = (TEXT, 24) if given else (TEXT,)
    text = jax.ShapeDtypeStruct((ROWS, *side), jnp.float32 if given else jnp.int32)
    batch, level = batch_of(text), jax.ShapeDtypeStruct((ROWS, TOKENS), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(model.init, key, batch.tokens, level, batch)["params"]
    apply = build.velocity_apply(model, prediction="velocity")

    def loss(params, batch, key):
        if given:  # the objective drops captions, which are tokens
            t = jax.random.uniform(key, batch.segment.shape)
            return jnp.mean(apply(params, batch.tokens, t, batch) ** 2)
        return Objective(density="uniform")(key, lambda *x: apply(params, *x), batch)[0]

    return jax.jit(jax.value_and_grad(loss)).lower(params, batch, key), params


def products(lowered) -> int:
    return plan_hlo.matrix_flops(plan_hlo.parse(lowered.compiler_ir("hlo").get_hlo_module().to_string()))


@pytest.mark.parametrize("width", [24, 48])
def test_the_formula_is_the_compilers_count_of_the_same_step(width):
    model = member(width)
    lowered, params = step_of(model)
    found = products(lowered)
    assert found == count_training_flops(model, **SHAPE, unasked=False)
    assert found <= count_training_flops(model, **SHAPE) < 1.05 * found
    # The rest of the whole count is elementwise work, whose share falls with the width: 6.4 % and 3.4 %.
    assert 1 < lowered.cost_analysis()["flops"] / found < {24: 1.07, 48: 1.04}[width]
    leaves = {path: leaf.size for path, leaf in tree.flatten(params).items()}
    mapped = {path: n for path, n in leaves.items() if path.startswith(EMBEDDINGS)}
    assert len(mapped) == 5 + 2 + 2
    assert count_parameters(model) == sum(leaves.values())
    assert count_nonembedding(model) == sum(leaves.values()) - sum(mapped.values())


@pytest.mark.parametrize(
    "changes",
    [{"levels": None}, {"gated": False}, {"remat": "full"}, {"remat": "dots"}, {"text_encoder": None}],
)
def test_every_variant_is_counted_as_it_is_compiled(changes):
    model = member(24, **changes)
    width = {"text_width": 24} if "text_encoder" in changes else {}
    lowered, params = step_of(model)
    assert products(lowered) == count_training_flops(model, **SHAPE, **width, unasked=False)
    sizes = {path: leaf.size for path, leaf in tree.flatten(params).items()}
    kept = sum(n for path, n in sizes.items() if not path.startswith(EMBEDDINGS))
    assert count_nonembedding(model, **width) == kept


def test_a_product_in_a_loop_counts_as_often_as_it_runs():
    def looped(x, w):
        y, _ = jax.lax.scan(lambda x, w: (x @ w, None), x, w)
        return y, jnp.einsum("bd,bd->b", x, x)

    shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((3, 5), (7, 5, 5))]
    assert products(jax.jit(looped).lower(*shapes)) == 7 * 2 * 3 * 5 * 5
