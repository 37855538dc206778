"""Published heads and the classification service treat every kind of head alike: no code asks for its class."""

import ast
from pathlib import Path

import pytest
from helpers.paths import ROOT

import classifiers.heads.multilabel.text  # noqa: F401 - a class between the kinds and their base
from classifiers.heads.base import Head

FILES = [path for folder in ("classifiers/published", "services/classification") for path in (ROOT / folder).rglob("*")]


def classes(base: type) -> set[str]:
    return {base.__name__}.union(*(classes(each) for each in base.__subclasses__()))


def asked_classes(tree: ast.AST) -> set[str]:
    """Return the names in the second argument of every isinstance and issubclass."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    asked = [call.args[1] for call in calls if call.func.id in ("isinstance", "issubclass")]
    names = [node for each in asked for node in ast.walk(each)]
    return {node.id for node in names if isinstance(node, ast.Name)} | {
        node.attr for node in names if isinstance(node, ast.Attribute)
    }


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".py"], ids=lambda path: path.name)
def test_no_isinstance_of_a_head(path: Path):
    heads = classes(Head)
    assert {"FusionHead", "DecoderHead", "TextHead", "LabelsHead", "ZeroShotHead"} <= heads
    assert not asked_classes(ast.parse(path.read_text())) & heads


def test_such_a_question_would_be_seen():
    assert asked_classes(ast.parse("isinstance(head, a.FusionHead | TextHead)")) >= {"FusionHead", "TextHead"}
