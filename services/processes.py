"""Runs both services as child processes, or as one: starts them, waits until they are ready, stops them."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pydantic import SecretStr

from services.client import Client
from services.settings import Settings
from services.web.access.guards import require_guarded
from services.web.access.keys import Role, make, secret_of
from services.web.errors import NotStarted, PortTaken, RemoteProblem, ServiceDown

STOP_SECONDS = 5.0
"""Time that a service gets to stop after SIGTERM, beyond its grace period. Then it is killed."""


NEEDS: Mapping[str, Sequence[str]] = {"embedding": (), "classification": ("media",)}
"""Capabilities that each service must have before it counts as started."""


BETWEEN_SERVICES = "between-services"
"""Name of the key that is made for two services which are started together."""


@dataclass(frozen=True, slots=True)
class Running:
    """The processes of the two services, and the URLs on which they listen.

    Attributes:
        processes: process by the name of its service; both may run in one.
    """

    embedding_url: str
    classification_url: str
    processes: Mapping[str, "subprocess.Popen[bytes]"]

    def wait(self) -> str:
        """Block until one of the services ends. Return its name."""
        while True:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    return name
            time.sleep(0.2)


@contextmanager
def running(settings: Settings, *, one_process: bool = False, seconds: float = 600.0) -> Iterator[Running]:
    """Run both services during the block, which begins when both are ready.

    The embedding service is ready when it has embedded its probe, the classification service when its heads are loaded
    and the embedding service answers. However the block ends, both are stopped.

    Args:
        one_process: run both in one process, see `services.one_process`.
        seconds: longest wait for each service to be ready.

    Raises NotStarted with the reason; Unguarded; BadKeys.
    """
    require_guarded(settings)
    ports = {"embedding": settings.embedding_port, "classification": settings.classification_port}
    urls = {name: url_of(settings.host, port) for name, port in ports.items()}
    for name, port in ports.items():
        _require_free(name, settings.host, port)
    with ExitStack() as stack:
        together = settings.model_copy(update={"embedding_url": urls["embedding"]} | _own_key(settings))
        key = secret_of(together.embedding_key)
        if one_process:
            processes = dict.fromkeys(ports, _start(stack, "both", together))
        else:
            processes = {name: _start(stack, name, together) for name in ports}
        for name in ports:
            _wait_ready(name, urls[name], processes[name], seconds, NEEDS[name], key)
        yield Running(urls["embedding"], urls["classification"], processes)


def url_of(host: str, port: int) -> str:
    """Return the URL at which this machine reaches a service that listens on `host`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface on which nothing listens at the moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _require_free(name: str, host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(
                f"the {name} service cannot listen on {host}:{port}: {error.strerror}; "
                f"stop the program that listens there, or set HEADWATER_{name.upper()}_PORT to another port"
            ) from error


def _start(stack: ExitStack, service: str, settings: Settings) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", f"{__package__}.cli", "serve", service]
    process = subprocess.Popen(command, env=settings.environment())  # noqa: S603 - our own command
    stack.callback(_stop, process, settings.grace + STOP_SECONDS)
    return process


def _stop(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _own_key(settings: Settings) -> dict[str, object]:
    """Return the settings of a fresh key, by which both services know each other; none if there are no keys."""
    if not settings.keys or settings.embedding_key.get_secret_value():
        return {}
    secret, key = make(BETWEEN_SERVICES, Role.read)
    return {"keys": (*settings.keys, key.line), "embedding_key": SecretStr(secret)}


def _wait_ready(
    name: str, url: str, process: "subprocess.Popen[bytes]", seconds: float, needs: Sequence[str], key: str
) -> None:
    deadline, why = time.monotonic() + seconds, "it did not answer yet"
    with Client(url, service=name, timeout=5.0, key=key) as client:
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
