import numpy as np
import pytest

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


def test_a_storyboard_is_captions_with_times_and_comes_back():
    text = "a red circle moving left [1.5s] a red circle at rest [3s] a red circle"
    timed = text_bytes.split_times(text)
    assert timed == ((0.0, "a red circle moving left"), (1.5, "a red circle at rest"), (3.0, "a red circle"))
    assert text_bytes.join_times(timed) == text
    assert text_bytes.split_times("[0s] a bar [2s] a square") == ((0.0, "a bar"), (2.0, "a square"))
    long = ((0.0, "a bar"), (123.456, "a square"))
    assert text_bytes.split_times(text_bytes.join_times(long)) == long
    for plain in ("a [red] circle", "", "at 3s a circle"):
        assert text_bytes.split_times(plain) == ((0.0, plain),)
    tokens, span, starts = text_bytes.encode_timed(text)
    assert starts == (0.0, 1.5, 3.0)
    for number, (_, caption) in enumerate(timed):
        np.testing.assert_array_equal(tokens[span == number], text_bytes.encode(caption))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a [2s] b [1s] c", "let them rise"),
        ("[1s] b", "begin at 0 s"),
        ("a [0s] b", "let them rise"),
        ("a [1s] ", "no caption after it"),
    ],
)
def test_a_storyboard_that_cannot_be_is_an_error(text, message):
    with pytest.raises(ValueError, match=message):
        text_bytes.encode_timed(text)
