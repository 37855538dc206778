"""Where distributed jobs run: a Ray cluster of this machine for the time of the job, or one that is there."""

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

from services.web.errors import ClusterProblem

OBJECTS = 256 << 20
"""Bytes of the object store of a cluster of our own. Only ids pass through it; what is more, Ray keeps on disk."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster, and what each worker gets of it.

    Attributes:
        address: of a running cluster, ``host:port`` or ``auto``; empty: one of this machine, started and stopped.
        workers: how many at most; None: as many as there is room for.
        cpus: of each worker; its engine and its decoding use as many threads.
        gpus: of each worker; may be a fraction.
    """

    address: str = ""
    workers: int | None = None
    cpus: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.cpus < 1 or self.gpus < 0 or (self.workers is not None and self.workers < 1):
            raise ClusterProblem(
                "a job needs at least 1 worker, and a worker at least 1 CPU and 0 or more GPUs; asked were "
                f"{self.workers} workers, {self.cpus} CPUs, {self.gpus:g} GPUs"
            )


@contextmanager
def connected(cluster: Cluster) -> Iterator[int]:
    """Within: Ray is there. Gives how many workers to run at once, at least 1. Raises ClusterProblem.

    A connection that this process has already is used, and stays. Enter it before anything reads the store:
    LanceDB's threads and the processes that Ray forks do not go together.
    """
    _prepare(own=not cluster.address)
    import ray

    if ray.is_initialized():
        yield room(cluster)
        return
    try:
        _connect(cluster)
        yield room(cluster)
    finally:
        ray.shutdown()


def _prepare(*, own: bool) -> None:
    """What Ray reads from the environment when it is imported; without effect once it has been."""
    if "ray" in sys.modules:
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else it reports its use to a server on the internet
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what its processes tell each other is not for users
    if own:  # it listens on every network of the machine and runs what it is sent: by who has the token
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


def _connect(cluster: Cluster) -> None:
    import ray

    options: dict[str, Any] = {"address": cluster.address or "local", "log_to_driver": False}
    if not cluster.address:
        options |= {"include_dashboard": False, "object_store_memory": OBJECTS}
    try:
        _knock(cluster.address)
        with _as_before():
            ray.init(logging_level=logging.ERROR, **options)
    except (OSError, ValueError, RuntimeError) as error:
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ClusterProblem(
            f"no Ray cluster at {cluster.address or 'this machine'}: {told}; start one with `ray start --head` and "
            "name it with --ray-address, or leave the address out to use this machine alone"
        ) from error


def _knock(address: str) -> None:
    """Raises OSError when nothing listens at ``host:port``: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "://" not in address:
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def _as_before() -> Iterator[None]:
    """Within, Ray may take over SIGTERM, and tell of its log level on the terminal; afterwards neither has happened.

    What goes wrong meanwhile it raises.
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


def room(cluster: Cluster) -> int:
    """How many workers fit on the nodes that are there, at most as many as asked for. Raises ClusterProblem."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fit = sum(_fit(node, cluster) for node in nodes)
    if not fit:
        have = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise ClusterProblem(
            f"no node of the cluster has room for a worker with {cluster.cpus} CPUs and {cluster.gpus:g} GPUs; its "
            f"nodes have: {have}; ask for less with --cpus and --gpus, or add nodes"
        )
    return fit if cluster.workers is None else min(fit, cluster.workers)


def _fit(node: dict[str, float], cluster: Cluster) -> int:
    by_cpu = math.floor(node.get("CPU", 0) / cluster.cpus)
    return min(by_cpu, math.floor(node.get("GPU", 0) / cluster.gpus)) if cluster.gpus else by_cpu


def quiet() -> None:
    """Ray Data without its own progress bars and log lines: ours tell the same."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
