"""Connections to a Ray cluster: a running one, or one started on this machine for the duration of a job."""

import logging
import math
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from services.jobs.errors import NoRay, NoWorkerFits, RayProblem

OBJECTS = 256 << 20
"""Bytes of the object store of a cluster started here. It carries ids, and predictions of a few shares; Ray moves
what exceeds it to disk."""


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers of a job on Ray: their cluster, their number and their size.

    Attributes:
        address: address of a running cluster, ``host:port`` or ``auto``; empty: start one on this machine and stop it.
        count: most workers at once; None: as many as fit.
        cpus: CPUs of each worker. Its engine and its decoding use as many threads.
        gpus: GPUs of each worker; may be a fraction.
    """

    address: str = ""
    count: int | None = None
    cpus: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.cpus < 1 or self.gpus < 0 or (self.count is not None and self.count < 1):
            raise RayProblem(
                "a job needs at least 1 worker, and a worker at least 1 CPU and 0 or more GPUs; the request was "
                f"{self.count} workers, {self.cpus} CPUs, {self.gpus:g} GPUs"
            )


@contextmanager
def connected(workers: Workers) -> Iterator[int]:
    """Connect to Ray for the block; yields the number of workers to run at once, at least 1.

    A connection that this process has already is used and kept. Enter the block before anything reads the store:
    LanceDB's threads do not survive in the processes that Ray forks.

    Raises:
        RayProblem: there is no cluster at the address, or it has no room for a worker.
    """
    _prepare(own=not workers.address)
    import ray

    if ray.is_initialized():
        yield workers_that_fit(workers)
        return
    try:
        _connect(workers)
        yield workers_that_fit(workers)
    finally:
        ray.shutdown()


def _prepare(*, own: bool) -> None:
    """Set the environment variables that Ray reads when it is imported. Has no effect after that."""
    if "ray" in sys.modules:
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # otherwise Ray reports its use to a server on the internet
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the log lines of its processes are not for users
    if own:  # Ray listens on every network interface and runs the code it is sent: only with this token
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


def _connect(workers: Workers) -> None:
    import ray

    options: dict[str, Any] = {"address": workers.address or "local", "log_to_driver": False}
    if not workers.address:
        options |= {"include_dashboard": False, "object_store_memory": OBJECTS}
    try:
        _knock(workers.address)
        with _as_before():
            ray.init(logging_level=logging.ERROR, **options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise NoRay(
            f"no Ray cluster at {workers.address or 'this machine'}: {reason}; start one with `ray start --head`, or "
            "give no address to use this machine alone"
        ) from error


def _knock(address: str) -> None:
    """Raise OSError if nothing listens at ``host:port``. Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "://" not in address:
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def _as_before() -> Iterator[None]:
    """Keep the handler of SIGTERM and the terminal as they are while Ray starts.

    Ray replaces the handler and prints lines about its log level. Errors are raised, not printed, so none is lost.
    """
    on_term, terminal = signal.getsignal(signal.SIGTERM), os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_term)


def workers_that_fit(workers: Workers) -> int:
    """Return the number of workers that fit on the nodes, at most `workers.count`. Raises NoWorkerFits."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fit = sum(_fit(node, workers) for node in nodes)
    if not fit:
        have = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise NoWorkerFits(
            f"no node of the cluster has room for a worker with {workers.cpus} CPUs and {workers.gpus:g} GPUs; its "
            f"nodes have: {have}; ask for smaller workers, or add nodes"
        )
    return fit if workers.count is None else min(fit, workers.count)


def _fit(node: dict[str, float], workers: Workers) -> int:
    by_cpu = math.floor(node.get("CPU", 0) / workers.cpus)
    return min(by_cpu, math.floor(node.get("GPU", 0) / workers.gpus)) if workers.gpus else by_cpu


def quiet() -> None:
    """Turn off the progress bars and log lines of Ray Data. The job reports its own progress."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
