"""The errors of the embedder keep what they know."""

import pickle

import pytest

from embedder.errors import BadImage, BatcherStopped, QueueFull, UnknownEncoder


@pytest.mark.parametrize(
    "error",
    [
        BadImage("empty", "a sentence"),
        UnknownEncoder("b", ["a", "c"]),
        QueueFull("a sentence", 1.5),
        BatcherStopped("a sentence"),
    ],
)
def test_errors_cross_process_borders_whole(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_an_unknown_encoder_is_told_with_the_known() -> None:
    assert str(UnknownEncoder("b", ["a", "c"])) == "no encoder is named 'b'; known: a, c"
