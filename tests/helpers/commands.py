"""The command `headwater`, run as a user does, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from services.processes import free_ports
from services.settings import Settings


def settings_in(folder: Path, cache: Path, **changes: object) -> Settings:
    """Return settings of services that keep everything in `folder` and listen on free ports."""
    embedding, classification = free_ports(2)
    return Settings(
        store=str(folder / "headwater.db"),
        heads=folder / "heads",
        adapters=folder / "adapters",
        clusters=folder / "clusters",
        cache=cache,
        embedding_port=embedding,
        classification_port=classification,
        log_level="WARNING",
        **changes,
    )


Runner = Callable[..., tuple[str, str]]


def runner(environment: Mapping[str, str], folder: Path | None = None) -> Runner:
    """Return a function that runs `headwater ARGUMENTS` and returns standard output and error.

    It checks the exit code, and that there is no traceback.
    """

    def run(*arguments: object, code: int = 0) -> tuple[str, str]:
        command = [sys.executable, "-m", "services.cli", *map(str, arguments)]
        full = os.environ | environment
        done = subprocess.run(command, cwd=folder, env=full, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout, done.stderr

    return run
