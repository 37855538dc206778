"""Rows of a pass: the smallest number with which a device is about as fast as with any other, found by measuring."""

import time
from collections.abc import Callable

CANDIDATES = (16, 32, 64, 128, 256, 512, 1024)
"""Numbers of rows that are tried, in this order."""

SECONDS = 1.5
"""Time that measuring may take after the network is compiled."""

_MARGIN = 0.05
"""Share of the best rate by which a smaller number of rows may be slower."""

_REPEATS = 3
_HOPELESS = 2
"""Measuring ends after so many candidates in a row that are no faster than the best one before them."""


def fewest(run: Callable[[int], bool], seconds: float = SECONDS) -> int:
    """Return the smallest candidate whose rate is within 5 % of the best rate, in rows a second.

    The best time of a candidate counts, because other programs can only slow it down. Candidates that would not fit
    into the remaining time, or into the memory, are left out.

    Args:
        run: computes that many rows and returns when the device has finished them. Returns False, and computes
            nothing, if the device has too little memory.
    """
    rates: dict[int, float] = {}
    if not run(CANDIDATES[0]):  # the first call compiles the network
        return CANDIDATES[0]
    deadline = time.perf_counter() + seconds
    for rows in CANDIDATES:
        rate = max(rates.values(), default=0.0)
        if rate and time.perf_counter() + 2 * rows / rate > deadline:
            break
        if not run(rows):  # the first call of this size allocates
            break
        rates[rows] = rows / _best_time(run, rows, deadline)
        if _hopeless(list(rates.values())):
            break
    best = max(rates.values(), default=0.0)
    return next((rows for rows, rate in rates.items() if rate >= (1 - _MARGIN) * best), CANDIDATES[0])


def _best_time(run: Callable[[int], bool], rows: int, deadline: float) -> float:
    """Return the best time of up to three calls, in seconds; of one if the deadline has passed."""
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        run(rows)
        best = min(best, max(time.perf_counter() - start, 1e-9))
        if time.perf_counter() > deadline:
            break
    return best


def _hopeless(rates: list[float]) -> bool:
    return len(rates) > _HOPELESS and max(rates[-_HOPELESS:]) <= (1 + _MARGIN / 5) * max(rates[:-_HOPELESS])
