"""Runs a service with uvicorn, and ends it within its grace period whatever its clients do."""

import asyncio
import gc
import logging
import os
import socket
import sys
import threading
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI

from services.settings import Settings
from services.web.admission import Admission
from services.web.protocol import protocol

log = logging.getLogger("headwater.http")

CLOSING = 0.2
"""Part of the grace period that is kept for what follows the last answer: the encoders, the backfill, the store."""


SWITCH_SECONDS = 0.0005
"""Time after which a thread that waits for the interpreter gets it. With Python's 5 ms, half of what a photo takes, the
threads that decode wait for the event loop while a processor is idle."""

YOUNG_OBJECTS = 20_000
"""New objects after which Python looks for cycles among them. Its own default is 700."""


class _Server(uvicorn.Server):
    """uvicorn's server. When it is told to stop, it ends within the grace period.

    Requests under way have the first part of that time. Those that are left are answered 503 `stopping`, and their
    connections are closed. If the service itself does not end in time, its process is ended.
    """

    def __init__(self, config: uvicorn.Config, admission: Admission, grace: float) -> None:
        super().__init__(config)
        self._admission, self._grace = admission, grace

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            threading.Thread(target=self._end_in_time, args=(sig,), daemon=True, name="grace").start()
        again = sig in self._captured_signals
        super().handle_exit(sig, frame)
        # Ctrl-C in a terminal reaches a service of `up` twice: itself, and as the SIGTERM that `up` sends. The order is
        # open, so only a second Ctrl-C means that the user does not want to wait.
        self.force_exit = self.force_exit and again

    async def serve_beside(self) -> int:
        """Serve without handling signals, which `run_both` does. Return the exit code."""
        try:
            await self._serve()
        except SystemExit as ended:  # uvicorn could not start; the other server has to stop first
            return int(ended.code or 0)
        return 0

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._admission.stopping = True
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.close()

    def _end_in_time(self, sig: int) -> None:
        """End the process when the grace period is over: a thread in C code or on a dead disk cannot be cancelled."""
        time.sleep(self._grace)
        log.error("the service did not end within its grace period of %s s, so its process was ended", self._grace)
        os._exit(128 + sig)


def tune_interpreter() -> None:
    """Set Python's own parameters for a process that does nothing but serve."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # modules and apps stay for good, and need not be looked through again
    gc.set_threshold(YOUNG_OBJECTS)


def make_server(app: FastAPI, settings: Settings, port: int) -> "_Server":
    """Return the server of `app` on `port`, with the limits of `settings`."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=port,
        log_config=None,
        access_log=False,
        http=protocol(settings),
        ws="none",
        timeout_graceful_shutdown=settings.grace * (1 - CLOSING),  # type: ignore[arg-type]  # a fraction is allowed
    )
    return _Server(config, app.state.service.admission, settings.grace)


def run(app: FastAPI, settings: Settings, port: int) -> None:
    """Serve `app` on `port` until the process is told to stop."""
    tune_interpreter()
    make_server(app, settings, port).run()


def run_both(first: "_Server", second: "_Server") -> None:
    """Run two servers on one event loop until the process is told to stop; `second` goes on until `first` has ended."""
    tune_interpreter()
    with asyncio.Runner(loop_factory=first.config.get_loop_factory()) as runner:
        code = runner.run(_serve_both(first, second))
    if code:
        sys.exit(code)


async def _serve_both(first: "_Server", second: "_Server") -> int:
    """Return the larger exit code."""
    with first.capture_signals():
        servers = {asyncio.create_task(server.serve_beside()): server for server in (first, second)}
        _, running = await asyncio.wait(servers, return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            servers[task].should_exit = True
        return max(await asyncio.gather(*servers))
