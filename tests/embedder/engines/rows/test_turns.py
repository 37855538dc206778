"""Turns: one thread at a time, in the order in which they asked."""

import threading
import time

import pytest

from embedder.engines.rows.turns import Turns


def until_waiting(turns, count):
    deadline = time.monotonic() + 20
    while len(turns._waiting) < count and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(turns._waiting) == count


def test_first_come_first_served():
    turns, served = Turns(), []

    def work(number):
        with turns:
            served.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    with turns:
        for number, thread in enumerate(threads):
            thread.start()
            until_waiting(turns, number + 1)
        assert served == []
    for thread in threads:
        thread.join(20)
    assert served == list(range(8))


def test_a_thread_that_comes_again_goes_to_the_end():
    turns, served = Turns(), []

    def other():
        with turns:
            served.append("other")

    thread = threading.Thread(target=other)
    with turns:
        thread.start()
        until_waiting(turns, 1)
    with turns:
        served.append("again")
    thread.join(20)
    assert served == ["other", "again"]


def test_one_at_a_time():
    turns, inside, most = Turns(), [], []

    def work():
        for _ in range(200):
            with turns:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert max(most) == 1
    assert len(most) == 800


@pytest.mark.parametrize("handed_over", [False, True])
def test_who_gives_up_does_not_stop_the_others(handed_over):
    turns = Turns()
    turns.__enter__()
    mine = threading.Lock()
    mine.acquire()
    turns._waiting.append(mine)
    if handed_over:
        turns.__exit__()
    turns._give_up(mine)  # what an interrupted wait does
    if not handed_over:
        turns.__exit__()
    with turns:
        assert not turns._waiting


def test_an_error_ends_the_turn():
    turns = Turns()
    with pytest.raises(ValueError, match="no"), turns:
        raise ValueError("no")
    with turns:
        pass
