"""Running `headwater` as a user does: in a process of its own, in a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "services.cli"]

Headwater = Callable[..., tuple[int, str, str]]


@pytest.fixture
def headwater(tmp_path: Path, cache_dir: Path) -> Headwater:
    """Run the command with some arguments; return (exit code, standard output, standard error)."""
    environment = os.environ | {"HEADWATER_CACHE": str(cache_dir)}

    def run(*arguments: object, **variables: str) -> tuple[int, str, str]:
        command, full = [*COMMAND, *map(str, arguments)], environment | variables
        done = subprocess.run(command, cwd=tmp_path, env=full, capture_output=True, text=True, timeout=300)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    return run
