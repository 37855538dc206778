"""Stops a process before the system calls that change a folder, by seccomp's user notifications (Linux 5.7).

Every thread of the process is stopped, also those of libraries in Rust and C, and no rights are needed. The process
that holds the listener then lets the call happen, makes it fail, or kills the process before it happens.
"""

import ctypes
import errno
import fcntl
import os
import platform
import stat
import struct
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_TSYNC, _NEW_LISTENER, _TSYNC_ESRCH = 1, 8, 16
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1
_CREATES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_SMALL = 8
"""Bytes of a write that only wakes another thread."""

_COMMON = {  # call: (kind, number of the argument with the path or the open file, number of its folder or None)
    "renameat2": ("rename", 3, 2),
    "linkat": ("link", 3, 2),
    "unlinkat": ("unlink", 1, 0),
    "mkdirat": ("mkdir", 1, 0),
    "openat": ("open", 1, 0),
    "fsync": ("sync", 0, None),
    "fdatasync": ("sync", 0, None),
    "ftruncate": ("write", 0, None),
    "write": ("write", 0, None),
    "pwrite64": ("write", 0, None),
    "writev": ("write", 0, None),
    "sendfile": ("write", 0, None),
    "copy_file_range": ("write", 2, None),
    "renameat": ("rename", 3, 2),
    "rename": ("rename", 1, None),
    "link": ("link", 1, None),
    "unlink": ("unlink", 0, None),
    "mkdir": ("mkdir", 0, None),
    "rmdir": ("unlink", 0, None),
    "open": ("open", 0, None),
}
_NUMBERS = {
    "x86_64": {
        "seccomp": 317,
        "renameat2": 316,
        "linkat": 265,
        "unlinkat": 263,
        "mkdirat": 258,
        "openat": 257,
        "fsync": 74,
        "fdatasync": 75,
        "ftruncate": 77,
        "write": 1,
        "pwrite64": 18,
        "writev": 20,
        "sendfile": 40,
        "copy_file_range": 326,
        "renameat": 264,
        "rename": 82,
        "link": 86,
        "unlink": 87,
        "mkdir": 83,
        "rmdir": 84,
        "open": 2,
    },
    "aarch64": {
        "seccomp": 277,
        "renameat2": 276,
        "linkat": 37,
        "unlinkat": 35,
        "mkdirat": 34,
        "openat": 56,
        "fsync": 82,
        "fdatasync": 83,
        "ftruncate": 46,
        "write": 64,
        "pwrite64": 68,
        "writev": 66,
        "sendfile": 71,
        "copy_file_range": 285,
        "renameat": 38,
    },
}
_HERE = _NUMBERS.get(platform.machine(), {})
_BY_NUMBER = {number: _COMMON[name] for name, number in _HERE.items() if name in _COMMON}
_OPENED = {"sync", "write"}
"""Kinds of calls whose argument is an open file."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call before it happens: its kind, and the path that it would change."""

    kind: str
    path: str
    creates: bool

    def fails_when_full(self) -> bool:
        return self.kind in ("write", "mkdir", "link") or self.creates

    def fails_when_read_only(self) -> bool:
        return self.kind in ("mkdir", "link", "rename", "unlink", "open")


FAILURES = {"full": (errno.ENOSPC, Call.fails_when_full), "read-only": (errno.EROFS, Call.fails_when_read_only)}
"""The error of a fault of the disk, and the calls that have it."""


def _step(code: int, on_true: int, on_false: int, value: int) -> bytes:
    return struct.pack("HBBI", code, on_true, on_false, value)


def _filter() -> bytes:
    """Return the program that the kernel runs at each call: notify of calls that may change a folder, allow others."""
    load, equal, greater, any_bit, answer = 0x20, 0x15, 0x25, 0x45, 0x06
    notify, allow = _step(answer, 0, 0, 0x7FC00000), _step(answer, 0, 0, 0x7FFF0000)
    program = []
    for name, number in _HERE.items():
        if name in ("open", "openat"):
            flags = 16 + 8 * (2 if name == "openat" else 1)
            test = [_step(load, 0, 0, flags), _step(any_bit, 0, 1, _CREATES)]
        elif name in ("write", "pwrite64"):
            test = [_step(load, 0, 0, 32), _step(greater, 0, 1, _SMALL)]
        elif name in _COMMON:
            program += [_step(equal, 0, 1, number), notify]
            continue
        else:
            continue
        program += [_step(equal, 0, 4, number), *test, notify, allow]
    return b"".join([_step(load, 0, 0, 0), *program, allow])


def listen() -> int:
    """Put all threads of this process, and those to come, under the filter. Return the file of the listener.

    Raises OSError where the kernel cannot do that.
    """
    if not _HERE:
        raise OSError(errno.ENOSYS, f"no numbers of system calls of {platform.machine()}")
    libc, program = ctypes.CDLL(None, use_errno=True), _filter()
    held = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]  # ctypes wants a list

    libc.prctl(38, 1, 0, 0, 0)  # no new privileges, which lets any user install a filter
    flags = _TSYNC | _NEW_LISTENER | _TSYNC_ESRCH
    found = libc.syscall(_HERE["seccomp"], 1, flags, ctypes.byref(Program(len(program) // 8, ctypes.addressof(held))))
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(found)


@cache
def possible() -> bool:
    """True if calls can be stopped here. Tried in a process of its own, because a filter stays."""
    command = [sys.executable, "-c", "import calls; calls.listen()"]
    return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, check=False).returncode == 0


class Listener:
    """Receives the calls of one process below a folder. Other calls are let through.

    Args:
        handle: file of the listener.
    """

    def __init__(self, handle: int, root: Path) -> None:
        self.handle, self._root = handle, f"{root}/"
        self._waiting = 0

    def receive(self) -> Call | None:
        """Return the call that now waits for `answer`; None for one that is let through, or that was interrupted."""
        raw = bytearray(80)
        try:
            fcntl.ioctl(self.handle, _RECEIVE, raw)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return None
            raise
        self._waiting, thread, _, number, _, _, *arguments = struct.unpack("QIIiIQ6Q", raw)
        try:
            call = self._call(thread, number, arguments)
        except (OSError, ValueError):  # the thread is gone
            call = None
        if call is None or not call.path.startswith(self._root):
            self.answer()
            return None
        return call

    def answer(self, error: int = 0) -> None:
        """Let the call happen, or make it fail with the number of an error."""
        try:
            fcntl.ioctl(self.handle, _SEND, struct.pack("QqiI", self._waiting, 0, -error, 0 if error else _CONTINUE))
        except OSError as gone:
            if gone.errno != errno.ENOENT:
                raise

    def _call(self, thread: int, number: int, arguments: list[int]) -> Call | None:
        kind, path, folder = _BY_NUMBER[number]
        if kind in _OPENED:
            where = f"/proc/{thread}/fd/{arguments[path]}"
            if not stat.S_ISREG(os.stat(where).st_mode) and kind == "write":
                return None
            return Call(kind, os.readlink(where), False)
        name = _text(thread, arguments[path])
        if not name.startswith("/"):
            start = None if folder is None else ctypes.c_int(arguments[folder] & 0xFFFFFFFF).value
            name = os.path.join(os.readlink(f"/proc/{thread}/{'cwd' if (start or -1) < 0 else f'fd/{start}'}"), name)
        creates = kind == "open" and bool(arguments[path + 1] & os.O_CREAT) and not os.path.exists(name)
        return Call(kind, os.path.normpath(name), creates)


def _text(thread: int, address: int) -> str:
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(4096).partition(b"\0")[0].decode(errors="replace")
