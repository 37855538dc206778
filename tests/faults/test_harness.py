"""The harness notices every promise that an operation can break, and it shows a violation again."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.broken import DOORS
from tests.faults.calls import possible
from tests.faults.campaign import Campaign, fast_folder
from tests.faults.door import Violation
from tests.faults.moments import Moment
from tests.faults.nursery import Nursery

pytestmark = pytest.mark.skipif(not possible(), reason="needs seccomp's user notifications")

BREAKS = {
    "too early": "was acknowledged and is",
    "half": "is neither what it was nor what it becomes",
    "lost": "old is gone",
    "leftovers": r"left behind: \d+\.tmp",
    "unfinished": r"(b is missing|old is 'old.*) at the end",
    "unnamed": "crashed: RuntimeError: something went wrong",
}


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery("tests.faults.broken") as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as made:
        yield made


def campaign(door: str, nursery: Nursery, folder: Path) -> Campaign:
    return Campaign(DOORS[door], nursery, folder / "campaign", 1)


def test_every_call_of_an_operation_is_reached(nursery, folder):
    found = campaign("correct", nursery, folder)
    assert [call.split()[0] for call in found.whole.calls] == ["open", "write", "rename"] * 3
    tally = found.until(40, 60)
    assert tally.violations == []
    assert tally.reached == tally.places
    assert tally.exact > 9


@pytest.mark.parametrize("door", BREAKS)
def test_a_broken_promise_is_noticed_and_shown_again(door, nursery, folder):
    found = campaign(door, nursery, folder)
    assert set(BREAKS) == set(DOORS) - {"correct"}
    for number in found.trials():
        if found.tally.violations or number > 60:
            break
    [violation] = found.tally.violations
    shown = re.match(rf"--door '{door}' --moments (\S+): ", violation)
    assert shown
    with pytest.raises(Violation, match=BREAKS[door]):
        found.trial(map(Moment.parse, shown[1].split(",")))
