"""The rows of a pass, measured on made-up devices whose times are known."""

import math

import pytest

from embedder.engines.rows import measured
from embedder.engines.rows.measured import CANDIDATES, SECONDS, fewest


@pytest.fixture
def device(monkeypatch):
    """Return a maker of devices: a launch takes `launch` seconds, then `at_once` rows are computed in `step`."""
    clock = [0.0]
    monkeypatch.setattr(measured.time, "perf_counter", lambda: clock[0])

    class Made:
        def __init__(self, launch, step, at_once, compiling=0.0, most=10**9):
            self.launch, self.step, self.at_once, self.compiling, self.most = launch, step, at_once, compiling, most
            self.rows = []

        def __call__(self, rows):
            if rows > self.most:
                return False
            clock[0] += self.compiling + self.launch + self.step * math.ceil(rows / self.at_once)
            self.compiling = 0.0
            self.rows.append(rows)
            return True

    Made.clock = clock
    return Made


@pytest.mark.parametrize(
    ("launch", "step", "at_once", "rows"),
    [
        (0.0, 0.001, 16, 16),  # no gain from more
        (0.0, 0.001, 128, 128),  # the device computes 128 rows at once
        (0.0002, 0.001, 64, 256),  # 256 rows: 4 ms and 0.2 of launching
        (0.0, 0.001, 4096, 1024),
    ],
)
def test_the_smallest_number_that_is_about_as_fast_as_the_best(device, launch, step, at_once, rows):
    made = device(launch, step, at_once)
    assert fewest(made) == rows
    rate = lambda n: n / (launch + step * math.ceil(n / at_once))  # noqa: E731
    best = max(map(rate, CANDIDATES))
    assert rows == next(n for n in CANDIDATES if rate(n) >= 0.95 * best)


def test_more_rows_than_the_memory_holds_are_not_chosen(device):
    assert fewest(device(0.0, 0.001, 4096, most=200)) == 128
    assert fewest(device(0.0, 0.001, 4096, most=3)) == CANDIDATES[0]


@pytest.mark.parametrize("compiling", [0.0, 30.0])
@pytest.mark.parametrize("step", [0.0001, 0.01, 0.2, 3.0])
def test_measuring_is_short_after_compiling(device, step, compiling):
    made = device(0.0, step, 32, compiling)
    found = fewest(made)
    first = compiling + step  # compiles, or shows that the network is slow
    assert made.clock[0] <= first + max(SECONDS * 1.5, 3 * step)
    assert found in CANDIDATES


def test_measuring_ends_when_more_rows_are_no_faster(device):
    made = device(0.0, 0.0001, 16)
    assert fewest(made) == 16
    assert max(made.rows) == 64
