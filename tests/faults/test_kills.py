"""Kills at every door: a few at the most important ones in `make test`, some hundreds in `make test-all`.

The long proof is a command: ``python -m tests.faults --kills 5000``.
"""

from collections.abc import Iterator

import pytest

from tests.faults.calls import possible
from tests.faults.campaign import Campaign
from tests.faults.doors import DOORS
from tests.faults.nursery import Nursery

SEED = 1
FIRST = ("ingest-folder", "backfill", "publish")
KILLS, SECONDS = 25, 30


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as running:
        yield running


def disturb(door: str, nursery: Nursery, tmp_path_factory, kills: int, seconds: float) -> Campaign:
    campaign = Campaign(DOORS[door], nursery, tmp_path_factory.mktemp("faults").resolve(), SEED)
    campaign.until(kills, seconds)
    assert campaign.tally.violations == []
    assert campaign.tally.kills > 0
    return campaign


@pytest.mark.parametrize("door", FIRST)
def test_a_kill_loses_nothing(door, nursery, tmp_path_factory):
    disturb(door, nursery, tmp_path_factory, 3, 10)


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_many_kills_and_faults_lose_nothing(door, nursery, tmp_path_factory):
    campaign = disturb(door, nursery, tmp_path_factory, KILLS, SECONDS)
    print(campaign.tally)
    if possible():
        assert campaign.tally.exact > 0
