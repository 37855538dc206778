"""A service that is told to stop ends within its grace period, whatever its clients and its own threads do."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from services.processes import free_ports

STUCK = """
import sys, time
from fastapi import APIRouter
from services.settings import Settings
from services.web import server
from services.web.app import Service, make_app

class Stuck(Service):
    async def start(self): ...
    async def stop(self): time.sleep(100)
    async def ready(self): return True, {}

settings = Settings(store="", grace=1)
server.run(make_app(Stuck(settings), APIRouter(), "t", "t"), settings, int(sys.argv[1]))
"""


@contextmanager
def started(port: int, *arguments: str, stderr: int = subprocess.DEVNULL) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=os.environ | {"HEADWATER_STORE": ""},
        stderr=stderr,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health/live")
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_body_that_never_ends_does_not_keep_a_service_from_stopping(stop, tmp_path):
    [port] = free_ports(1)
    command = ("-m", "services.cli", "serve", "classification", "--port", str(port), "--heads", str(tmp_path))
    with started(port, *command, "--grace", "1") as process, socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(20)
        client.sendall(
            b"POST /heads/x/alias HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000\r\n\r\n{"
        )
        httpx.get(f"http://127.0.0.1:{port}/health/live", timeout=60).raise_for_status()
        time.sleep(1.5)  # the service answers a later connection: it has read these headers too
        start = time.monotonic()
        process.send_signal(stop)
        assert process.wait(20) in (0, -stop, 128 + stop)
        assert time.monotonic() - start < 2
        answer = client.recv(4096)
        assert b" 503 " in answer.splitlines()[0]
        assert b'"stopping"' in answer


def test_ctrl_c_beside_the_signal_of_up_ends_a_service_in_peace(tmp_path):
    [port] = free_ports(1)
    command = ["-m", "services.cli", "serve", "classification", "--port", str(port), "--heads", str(tmp_path)]
    with started(port, *command, stderr=subprocess.PIPE) as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.02)  # one after the other; sent at once, either may be handled first
        process.send_signal(signal.SIGINT)
        log = process.communicate(timeout=20)[1]
    assert b"Application shutdown complete" in log
    assert b"Traceback" not in log


def test_a_service_that_cannot_end_is_ended(tmp_path):
    [port] = free_ports(1)
    script = tmp_path / "stuck.py"
    script.write_text(STUCK)
    with started(port, str(script), str(port)) as process:
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
        assert time.monotonic() - start < 2
