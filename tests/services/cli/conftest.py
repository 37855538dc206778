"""Running `headwater` as a user does, in a folder of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import Run, apart, here

Headwater = Callable[..., tuple[int, str, str]]


@pytest.fixture
def headwater(tmp_path: Path, cache_dir: Path) -> Headwater:
    """Run the command with some arguments in this process; return (exit code, standard output, standard error)."""
    return _in(tmp_path, cache_dir, here)


@pytest.fixture
def headwater_process(tmp_path: Path, cache_dir: Path) -> Headwater:
    """Run the command in a process of its own: for what a process alone shows, and for commands that might not end."""
    return _in(tmp_path, cache_dir, apart)


def _in(folder: Path, cache: Path, run: Run) -> Headwater:
    def headwater(*arguments: object, **variables: str) -> tuple[int, str, str]:
        return run([*map(str, arguments)], {"HEADWATER_CACHE": str(cache)} | variables, folder)

    return headwater
