import numpy as np

from sora_jax import rng, text_bytes


def test_bytes_are_byt5_tokens_and_come_back():
    assert text_bytes.encode("Hi").tolist() == [ord("H") + 3, ord("i") + 3, 1]
    assert text_bytes.encode("").tolist() == [text_bytes.EOS]
    for text in ("a red circle", "größer ⟶ 圆", ""):
        assert text_bytes.decode(text_bytes.encode(text)) == text
        assert len(text_bytes.encode(text)) == len(text.encode()) + 1


def test_decoding_stops_at_the_end_and_skips_padding():
    assert text_bytes.decode(np.array([0, ord("a") + 3, 0, 1, ord("b") + 3])) == "a"


def test_named_streams_differ_and_repeat():
    draw = [rng.host(0, *names).random() for names in (("a", 1), ("a", 2), ("b", 1), ("a", 1))]
    assert draw[0] == draw[3] and len(set(draw)) == 3
