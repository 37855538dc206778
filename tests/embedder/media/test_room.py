"""Threads that decode together take no more memory than the room has."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from embedder.media.room import Room


@pytest.mark.parametrize("limit", [1, 100, 250, 10_000])
def test_no_more_is_taken_than_the_limit_and_everything_is_given_back(limit):
    room, lock, now, peak = Room(limit), threading.Lock(), [0], [0]

    def decode(size: int) -> None:
        with room.share() as reserve:
            reserve(size)
            with lock:
                now[0] += size
                peak[0] = max(peak[0], now[0])
            time.sleep(0.002)
            with lock:
                now[0] -= size

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(decode, [100, 50, 10] * 30))
    assert peak[0] <= max(limit, 100)
    assert peak[0] >= min(limit, 160)
    assert (now, room._used) == ([0], 0)


def test_an_error_gives_it_back():
    room = Room(10)

    def fail() -> None:
        with room.share() as reserve:
            reserve(10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with room.share() as reserve:
        reserve(10)
