"""A process that has imported everything and forks a child for each run of a door: imports take seconds, a fork none.

It never opens a store itself, so no thread of a library but LanceDB's idle one exists when it forks, and LanceDB starts
that one again in the child. Requests and answers are lines of JSON.
"""

import contextlib
import errno
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Self

from .calls import FAILURES, Listener, listen, possible
from .door import Door
from .moments import Ended, Moment

PATIENCE = 60.0
"""Seconds after which a child counts as hung."""
_DISK = {number for number, _ in FAILURES.values()}


class Nursery:
    """The process, as the harness uses it: ``with Nursery() as nursery: nursery.run(door, home, moment)``.

    Args:
        doors: name of the module whose `DOORS` has the doors by name.
    """

    def __init__(self, doors: str = "tests.faults.doors") -> None:
        here = Path(__file__).parent
        path = os.pathsep.join([str(here.parents[1]), str(here.parent)])
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.faults.nursery", doors],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=here.parents[1],
            env=os.environ | single | {"PYTHONPATH": path},
        )

    def run(self, door: Door, home: Path, moment: Moment | None = None) -> Ended:
        """Run the operation of `door` in `home`, disturbed at `moment`, and return how it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"door": door.name, "home": str(home), "moment": asdict(moment or Moment())}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the nursery has ended")
        return Ended.of(json.loads(answer))

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it is ready
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes standard input, which ends it
            pass


def main() -> None:
    """Answer requests until standard input ends. The argument is the module that holds the doors."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    importlib.import_module("lancedb")
    doors: dict[str, Door] = importlib.import_module(sys.argv[1]).DOORS
    stops = possible()
    answers.write("ready\n")
    for line in sys.stdin:
        request = json.loads(line)
        door = doors[request["door"]]
        for module in door.modules:
            importlib.import_module(module)
        ended = _run(door, Path(request["home"]), Moment(**request["moment"]), stops)
        answers.write(json.dumps(asdict(ended)) + "\n")


def _run(door: Door, home: Path, moment: Moment, stops: bool) -> Ended:
    ours, theirs = socket.socketpair()
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _perform(door, home, theirs, stops)
    theirs.close()
    with ours:
        return _Watched(pid, ours, home, moment, start).watch(stops)


def _perform(door: Door, home: Path, link: socket.socket, stops: bool) -> None:
    """Perform the operation in the child, and end it."""
    how = "0"
    try:
        warnings.simplefilter("ignore")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if stops:
            handle = listen()
            socket.send_fds(link, [b"listener\n"], [handle])
            os.close(handle)
        door.run(home, lambda key: link.sendall(key.encode() + b"\n"))
    except KeyboardInterrupt:
        how = "stopped"
    except BaseException as error:
        how = _named(error)
    with contextlib.suppress(BaseException):
        link.sendall(f"!{how}\n".encode())
    os._exit(0)


def _named(error: BaseException) -> str:
    from services.cli.errors import EXPECTED

    text = f"{type(error).__name__}: {error}".replace("\n", " ")
    if isinstance(error, EXPECTED) or (isinstance(error, OSError) and error.errno in _DISK):
        return f"named: {text}"
    return f"crashed: {text} {traceback.format_exc()[-1500:]!r}"


class _Watched:
    """A child, its calls and its acknowledgements."""

    def __init__(self, pid: int, link: socket.socket, home: Path, moment: Moment, start: float) -> None:
        self.pid, self.link, self.home, self.moment, self.start = pid, link, home, moment, start
        self.listener: Listener | None = None
        self.calls: list[str] = []
        self.text = b""
        self.hit = self.hung = False
        self.waited = self.looked = 0.0

    def watch(self, stops: bool) -> Ended:
        """Disturb the child at the moment, and wait for its end."""
        process = os.pidfd_open(self.pid)
        waiting = [process, self.link.fileno()]
        if stops and (handle := self._listener()) is not None:
            self.listener = Listener(handle, self.home)
            waiting.append(handle)
            self.start = time.monotonic()
        ready: list[int] = []
        while process not in ready:
            ready, _, _ = select.select(waiting, (), (), self._by_time())
            if self.listener and self.listener.handle in ready:
                self._call()
            if self.link.fileno() in ready and not self._read():
                waiting.remove(self.link.fileno())
        while self._read():
            pass
        for each in {process, *waiting} - {self.link.fileno()}:
            os.close(each)
        return self._ended(os.waitpid(self.pid, 0)[1])

    def _by_time(self) -> float:
        """Disturb the child if its time has come, and end it if it hangs. Return the seconds until the next look."""
        now = time.monotonic() - self.start
        # A machine, or this process, may be stopped for a while: such a gap between two looks does not count.
        self.waited += min(now - self.looked, 2.0)
        self.looked = now
        if self.waited > PATIENCE and not self.hung:
            self.hung = True
            os.kill(self.pid, signal.SIGKILL)
        if not self.moment.after or self.hit:
            return 1.0
        if now >= self.moment.after:
            self._disturb()
        return max(0.0, self.moment.after - now)

    def _listener(self) -> int | None:
        text, handles, _, _ = socket.recv_fds(self.link, 9, 1)
        self.text = text.removeprefix(b"listener\n")
        return handles[0] if handles else None

    def _read(self) -> bool:
        found = self.link.recv(65536)
        self.text += found
        return bool(found)

    def _disturb(self) -> None:
        self.hit = True
        signals = {"kill": signal.SIGKILL, "int": signal.SIGINT, "term": signal.SIGTERM}
        if self.moment.how in signals:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signals[self.moment.how])

    def _call(self) -> None:
        assert self.listener is not None
        try:
            call = self.listener.receive()
        except OSError as error:
            if error.errno == errno.EBADF:
                raise
            return
        if call is None:
            return
        self.calls.append(f"{call.kind} {os.path.relpath(call.path, self.home)}")
        if len(self.calls) == self.moment.call:
            self._disturb()
            if self.moment.how == "kill":
                return
        number, fails = FAILURES.get(self.moment.how, (0, lambda _: False))
        self.listener.answer(number if self.hit and fails(call) else 0)

    def _ended(self, status: int) -> Ended:
        lines = self.text.decode().splitlines()
        keys = tuple(line for line in lines if not line.startswith("!"))
        [how] = [line[1:] for line in lines if line.startswith("!")] or [str(os.waitstatus_to_exitcode(status))]
        return Ended("hung" if self.hung else how, keys, tuple(self.calls), time.monotonic() - self.start, self.hit)


if __name__ == "__main__":
    main()
