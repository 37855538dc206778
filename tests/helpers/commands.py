"""The command `headwater`, run as a user does: in the test's own process, or in one of its own where that matters."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from services.cli import main
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


Run = Callable[[list[str], Mapping[str, str], Path | None], tuple[int, str, str]]
"""Arguments, environment variables and working folder (None: this one) → exit code, standard output and error."""


def here(arguments: list[str], environment: Mapping[str, str], folder: Path | None) -> tuple[int, str, str]:
    """Run `headwater` in this process, where nothing has to be imported again. An unexpected error is raised."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        if folder:
            patch.chdir(folder)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["headwater", *arguments])
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


def apart(arguments: list[str], environment: Mapping[str, str], folder: Path | None) -> tuple[int, str, str]:
    """Run `headwater` in a process of its own, as a shell does."""
    command, full = [sys.executable, "-m", "services.cli", *arguments], os.environ | environment
    done = subprocess.run(command, cwd=folder, env=full, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


Runner = Callable[..., tuple[str, str]]


def runner(environment: Mapping[str, str], folder: Path | None = None, run: Run = here) -> Runner:
    """Return a function that runs `headwater ARGUMENTS`, checks the exit code, and returns what was printed."""

    def checked(*arguments: object, code: int = 0) -> tuple[str, str]:
        found, out, err = run([*map(str, arguments)], environment, folder)
        assert found == code, err
        return out, err

    return checked
