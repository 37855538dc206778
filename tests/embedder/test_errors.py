"""Errors of the embedder keep their data, and name nothing that a library's caller does not have."""

import ast
import pickle
import re
from pathlib import Path

import pytest
from helpers.paths import ROOT

from embedder.errors import (
    AdapterMissing,
    BadImage,
    BatcherStopped,
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


@pytest.mark.parametrize("path", sorted((ROOT / "embedder").rglob("*.py")), ids=lambda path: path.name)
def test_no_message_names_a_command_an_option_or_a_variable(path: Path) -> None:
    """A program that uses the package as a library has no command line of ours."""
    tree = ast.parse(path.read_text())
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in docstrings]
    ours = re.compile(r"HEADWATER_|`?headwater [a-z]|(?<!\w)--(?!create-dirs|include)[a-z]")
    assert not [text for text in texts if isinstance(text, str) and ours.search(text)]
