"""On a mesh weights are gathered and their gradients summed; activations stay where their row is.

Left to itself the partitioner gathered activations: 32 MB and 88 MB where 0.4 MB and 1.4 MB are sent now.
"""

import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("plan_collectives.py")
LAYERS, WIDTH, TOKENS = 2, 48, 1024
HEADS, TEXT_WIDTH, TEXT = 2, 32, 224


@pytest.fixture(scope="module")
def found(on_eight_devices):
    return json.loads(on_eight_devices(SCRIPT, seconds=500))


def sent(found, mesh: str) -> dict[str, float]:
    return {kind: count_and_bytes[1] for kind, count_and_bytes in found[mesh].items()}


def test_fsdp_moves_weights_and_their_gradients_only(found):
    """Each weight is gathered once or twice. Each gradient is summed once (2 bytes sent per byte), and so is
    that of the text encoder's bias over pairs. The text's table is cut by width and looked up by exchange."""
    weights, bias = 4 * found["parameters"], 4 * HEADS * TEXT * TEXT
    moved = sent(found, "fsdp=8")
    assert set(moved) == {"all-gather", "all-reduce", "all-to-all"}
    assert 0.5 * weights < moved["all-gather"] < 2 * weights
    assert moved["all-reduce"] < 2 * (weights + bias)
    assert moved["all-to-all"] < 2 * 4 * TEXT * TEXT_WIDTH


def test_context_moves_keys_and_values_too(found):
    """In both passes every device gathers the keys and values of its row, and their gradients are summed."""
    weights, bias = 4 * found["parameters"], 4 * HEADS * TEXT * TEXT
    pairs = LAYERS * 2 * 4 * TOKENS * WIDTH  # keys and values of a row, all layers
    text_pairs = LAYERS * 2 * 4 * TEXT * WIDTH
    moved = sent(found, "fsdp=4,context=2")
    assert pairs < moved["all-gather"] < 2 * weights + 2 * pairs
    assert moved["all-reduce"] < 2 * (weights + bias) + 2 * (pairs + text_pairs)
    assert moved["all-to-all"] < 1.75 * 4 * TEXT * TEXT_WIDTH  # more where whole gradients are summed
    assert moved.get("collective-permute", 0) < 4096  # numbers of noise levels
