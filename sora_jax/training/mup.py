"""Maximal update parametrisation: initial values and learning rates that carry over from width to width.

Yang et al. 2022, "Tensor Programs V" (arXiv 2203.03466), Table 8. With `r = base_width / width`, for Adam:

| parameter                                     | initial variance | learning rate |
|-----------------------------------------------|------------------|---------------|
| input (patches, positions, levels, bytes)     | as it is         | 1             |
| vectors (biases, gains, offsets)              | as it is         | 1             |
| hidden and output matrices (fan-in ~ width)   | 1 / fan-in, or 0 | r             |
| attention logits                              | q k / head_dim, by a smaller gain of the query | 1 |

The gates and the last layer begin at zero, where the table says 1 / width^2. Muon's update of a matrix has a
spectral norm of its own, sqrt(max(1, out / in)), at every width, which is what a feature's change needs to be
of one size (Yang et al. 2023, "A spectral condition for feature learning", arXiv 2310.17813, Eq. 3): what
Muon trains keeps its rate, and what AdamW trains beside it follows the table.

At the base width and the base head all multipliers are 1. Rules are by path; no module knows of them.
"""

from __future__ import annotations

from typing import Any, Literal

import jax

from sora_jax import tree
from sora_jax.types import Params

Rules = tuple[tuple[str, float], ...]

INPUTS = r"^tokenizer/(patch|position)/|^noise_level/in/|^text_encoder/(embedding|relative_bias)$"
BLOCK_MATRICES = r"block.*/kernel$"  # those that Muon takes: `optimizer.MATRIX_RULES`
MATRICES = r"/kernel$"
QUERIES = r"query_norm/gain$|^text_encoder/block_\d+/query/kernel$"
ANYTHING = r".*"


def rate_rules(*, width: int, base_width: int, optimizer: Literal["adamw", "muon"]) -> Rules:
    """(regex over the path, multiplier of the learning rate) of a transformer of `width`.

    Args:
      width: of the model; its text encoder's, which is in proportion, is not asked for.
      base_width: at which the rates were tuned.
      optimizer: which trains the block matrices.

    Raises:
      ValueError: a width below 1, or an unknown optimiser.
    """
    if min(width, base_width) < 1:
        raise ValueError(f"width {width} and base_width {base_width}: give 1 or more")
    if optimizer not in ("adamw", "muon"):
        raise ValueError(f"optimizer {optimizer!r} is neither 'adamw' nor 'muon'")
    ratio = base_width / width
    by_muon = ((BLOCK_MATRICES, 1.0),) if optimizer == "muon" else ()
    return ((INPUTS, 1.0), *by_muon, (MATRICES, ratio), (ANYTHING, 1.0))


def init_rules(*, head_dim: int, base_head_dim: int) -> Rules:
    """(regex over the path, multiplier of the initial value): attention's logits ~ 1 / head_dim.

    The modules scale logits by head_dim^(-1/2); the other half is taken from the query.

    Raises:
      ValueError: a head below 1.
    """
    if min(head_dim, base_head_dim) < 1:
        raise ValueError(f"head_dim {head_dim} and base_head_dim {base_head_dim}: give 1 or more")
    return ((QUERIES, (base_head_dim / head_dim) ** 0.5), (ANYTHING, 1.0))


def rescale(params: Params, rules: Rules) -> Params:
    """Fresh parameters with every leaf times what the first rule that matches its path says."""
    multipliers: Any = tree.match_tree(rules, params, what="init_rules")
    return jax.tree.map(lambda leaf, multiplier: leaf * multiplier, params, multipliers)
