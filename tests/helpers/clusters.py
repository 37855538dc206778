"""Ray clusters on this machine, and the processes of their workers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from services.jobs.ray import Workers
from services.processes import free_ports


@contextmanager
def running_cluster() -> Iterator[Workers]:
    """Start a cluster of 2 CPUs that outlives the commands, reached by its address; it asks for a token."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    # Not pytest's folder: the paths of sockets, somewhere below, may have 107 characters.
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings = {"MODE": "token", "TOKEN": "0" * 64}
        for name, value in settings.items():
            patch.setenv(f"RAY_AUTH_{name}", value)
        options = ["--num-cpus=2", "--object-store-memory=100000000", "--include-dashboard=false"]
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
        command += [f"--port={address.rpartition(':')[2]}", f"--temp-dir={folder}", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        assert any("Ray runtime started" in line for line in process.stdout)
        yield Workers(address)
        for pid in [process.pid, *descendants(process.pid)]:  # its own way out takes half a minute
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def workers(kind: str) -> list[int]:
    """Return the processes of actors of a class, of this user's clusters that began under this test."""
    return [pid for pid in descendants(os.getpid()) if kind in command_of(pid)]


def descendants(pid: int) -> list[int]:
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()
    ]
    return children + [each for child in children for each in descendants(child)]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().strip("\0")
    except OSError:
        return ""
