"""Errors of the embedder keep their data."""

import pickle
from pathlib import Path

import pytest

from embedder.errors import (
    AdapterMissing,
    BadImage,
    BatcherStopped,
    DeviceFull,
    LicenceNotAccepted,
    ProbeMismatch,
    Published,
    QueueFull,
    UnknownEncoder,
    WeightsMissing,
)


@pytest.mark.parametrize(
    "error",
    [
        BadImage("empty", "a sentence"),
        BadImage("too_many_pixels", "a sentence", "max_pixels"),
        WeightsMissing("a", "no network", [Published("b/c", ("d",), Path("e"), "hf download b/c")], "a@FILE"),
        AdapterMissing("a+mlcd-0", "mlcd-0", Path("adapters"), ["b"]),
        LicenceNotAccepted("a", "a notice"),
        ProbeMismatch("a sentence", ["fp32"]),
        DeviceFull("cuda"),
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
