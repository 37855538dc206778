"""Every entry of the list of slow tests exists, so that a renamed test does not slow down `make test` unnoticed."""

import ast
import re
from pathlib import Path

import pytest
from helpers.slow import SLOW, TESTS, mark_slow


@pytest.mark.parametrize("file", SLOW)
def test_every_listed_test_exists(file: str) -> None:
    tree = ast.parse((TESTS / file).read_text())
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert set(SLOW[file]) <= defined


class Item:
    """A test item with the attributes of pytest's items that `mark_slow` reads."""

    def __init__(self, file: str, name: str) -> None:
        self.path, self.name = Path(TESTS / file), name
        self.marks: list[str] = []

    def add_marker(self, mark: pytest.MarkDecorator) -> None:
        self.marks.append(mark.name)


def test_a_family_keeps_its_representatives() -> None:
    family = "embedder/encoders/test_lite.py"
    items = [Item(family, f"test_every_engine_passes_the_probe[lite{i}]") for i in range(3)]
    other = Item(family, "test_sizes_are_timms[lite2]")
    mark_slow([*items, other])  # type: ignore[list-item]
    assert [item.marks for item in [*items, other]] == [[], ["slow"], ["slow"], []]


def test_the_patterns_are_patterns() -> None:
    for tests in SLOW.values():
        for pattern in tests.values():
            re.compile(pattern or "")
