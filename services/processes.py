"""Both services as child processes: start, wait until they are truly ready, stop cleanly."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from services.client import Client
from services.settings import Settings
from services.web.errors import RemoteProblem, ServiceDown

STOP_SECONDS = 15.0
"""A service that has not stopped so long after SIGTERM is killed."""


class NotStarted(RuntimeError):
    """A service ended, or was not ready in time."""


@dataclass(frozen=True, slots=True)
class Running:
    """The two processes and where they listen."""

    embedding_url: str
    classification_url: str
    processes: Mapping[str, "subprocess.Popen[bytes]"]

    def wait(self) -> str:
        """Block until one of the services ends; its name."""
        while True:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    return name
            time.sleep(0.2)


@contextmanager
def running(settings: Settings, *, seconds: float = 600.0) -> Iterator[Running]:
    """Both services, ready: the embedding service has embedded its probe, every good head is loaded.

    They are stopped when the block ends, however it ends. Raises NotStarted with the reason.
    """
    embedding = f"http://{_reachable(settings.host)}:{settings.embedding_port}"
    classification = f"http://{_reachable(settings.host)}:{settings.classification_port}"
    for name, port in (
        ("embedding", settings.embedding_port),
        ("classification", settings.classification_port),
    ):
        _require_free(name, settings.host, port)
    with ExitStack() as stack:
        together = settings.model_copy(update={"embedding_url": embedding})
        processes = {name: _start(stack, name, together) for name in ("embedding", "classification")}
        for name, url, needs in (("embedding", embedding, ()), ("classification", classification, ("media",))):
            _wait_ready(name, url, processes[name], seconds, needs)
        yield Running(embedding, classification, processes)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nothing listens on at the moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound


def _require_free(name: str, host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise NotStarted(
                f"the {name} service can't listen on {host}:{port}: {error.strerror}; "
                f"stop what listens there, or choose another port with --{name}-port"
            ) from error


def _start(stack: ExitStack, service: str, settings: Settings) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "services.cli", "serve", service]
    process = subprocess.Popen(command, env=settings.environment())  # noqa: S603 - our own command
    stack.callback(_stop, process)
    return process


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_ready(name: str, url: str, process: "subprocess.Popen[bytes]", seconds: float, needs: Sequence[str]) -> None:
    deadline, why = time.monotonic() + seconds, "not asked yet"
    with Client(url, service=name, timeout=5.0) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise NotStarted(f"the {name} service ended with exit code {process.returncode}; see its log above")
            try:
                client.ready(needs=needs)
                return
            except (ServiceDown, RemoteProblem) as error:
                why = str(error)
            time.sleep(0.05)
    raise NotStarted(f"the {name} service was not ready after {seconds:.0f} s: {why}")
