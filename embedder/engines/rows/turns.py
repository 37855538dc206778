"""A lock that is first come, first served. `threading.Lock` may give way to the same thread again and again."""

from collections import deque
from threading import Lock


class Turns:
    """Use it in a `with` statement. Threads get their turns in the order in which they asked."""

    def __init__(self) -> None:
        self._state = Lock()
        self._taken = False
        self._waiting: deque[Lock] = deque()

    def __enter__(self) -> None:
        with self._state:
            if not self._taken:
                self._taken = True
                return
            mine = Lock()
            mine.acquire()
            self._waiting.append(mine)
        try:
            mine.acquire()  # the thread before this one releases it
        except BaseException:  # Ctrl-C
            self._give_up(mine)
            raise

    def __exit__(self, *_: object) -> None:
        with self._state:
            self._next()

    def _next(self) -> None:
        if self._waiting:
            self._waiting.popleft().release()
        else:
            self._taken = False

    def _give_up(self, mine: Lock) -> None:
        with self._state:
            if mine in self._waiting:
                self._waiting.remove(mine)
            else:
                self._next()  # it was this thread's turn already
