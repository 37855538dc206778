"""Results of slow functions that are kept while a comparison runs, so that several heads share a step.

Heads on the same rows repeat each other's steps: the space that the rows span, its principal axes, the choice of a
shrinkage, the out-of-fold scores of the members of a fusion. Such a step is a function of arrays and estimators alone,
so its result is kept under a hash of them.
"""

import pickle
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from hashlib import blake2b
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

MOST_BYTES = 2**28
"""Maximum size of all results that are kept, in bytes: those that were used last."""


class _Results:
    """Results by key, with the seconds that each took. The one that was used last is at the end.

    Attributes:
        saved: seconds that the results took which were used again, each time they were.
    """

    def __init__(self, most_bytes: int) -> None:
        self._kept: OrderedDict[bytes, tuple[Any, float]] = OrderedDict()
        self._free, self.saved = most_bytes, 0.0

    def get(self, key: bytes, compute: Callable[[], Any]) -> Any:
        if key in self._kept:
            self._kept.move_to_end(key)
            result, seconds = self._kept[key]
            self.saved += seconds
            return result
        start = time.perf_counter() + self.saved  # a step inside this one may be saved
        result = compute()
        self._kept[key] = result, time.perf_counter() + self.saved - start
        self._free -= size(result)
        while self._free < 0:
            self._free += size(self._kept.popitem(last=False)[1][0])
        return result


_results: ContextVar[_Results | None] = ContextVar("results", default=None)


@contextmanager
def remembering(most_bytes: int = MOST_BYTES) -> Iterator[None]:
    """Keep the results of `remembered` functions while the context is open, in this thread."""
    token = _results.set(_Results(most_bytes))
    try:
        yield
    finally:
        _results.reset(token)


def saved_seconds() -> float:
    """Return the seconds that `remembering` has saved so far; 0 outside."""
    results = _results.get()
    return 0.0 if results is None else results.saved


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function, whose results are kept inside `remembering`.

    Args:
        function: its result depends on the arguments alone, which can be pickled. It is an array, a number, or a list
            or tuple of such results, and nobody may change it.
    """

    @wraps(function)
    def kept(*args: P.args, **kwargs: P.kwargs) -> R:
        results = _results.get()
        if results is None:
            return function(*args, **kwargs)
        key = digest((function.__module__, function.__qualname__, args, kwargs))
        found: R = results.get(key, lambda: function(*args, **kwargs))
        return found

    return kept


def digest(value: Any) -> bytes:
    """Return a hash of a value that can be pickled. Equal hashes mean equal values; the reverse is only likely."""
    buffers: list[pickle.PickleBuffer] = []
    found = blake2b(pickle.dumps(value, protocol=5, buffer_callback=buffers.append))
    for buffer in buffers:
        found.update(buffer.raw())
    return found.digest()


def size(result: Any) -> int:
    """Return the bytes of the arrays in a result."""
    if isinstance(result, list | tuple):
        return sum(map(size, result))
    return int(getattr(result, "nbytes", 0))
