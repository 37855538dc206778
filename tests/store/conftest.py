"""Fixtures: an empty store, and real Python processes that write to it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.paths import ROOT

from store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "db")


@pytest.fixture
def start_python() -> Callable[..., "subprocess.Popen[str]"]:
    """Start a process that runs `code` with `arguments` as sys.argv[1:]; its standard output is a pipe."""

    def start(code: str, *arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    return start
