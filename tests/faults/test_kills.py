"""Kills at every door: a few at the most important ones in `make test`, some hundreds in `make test-all`.

The long proof is a command: ``python -m tests.faults --kills 5000``.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.calls import possible
from tests.faults.campaign import Campaign, fast_folder
from tests.faults.doors import DOORS
from tests.faults.nursery import Nursery

SEED = 1
FIRST = ("ingest-folder", "backfill", "publish")
KILLS, SECONDS = 25, 30


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as made:
        yield made


def disturb(door: str, nursery: Nursery, folder: Path, kills: int, seconds: float) -> Campaign:
    campaign = Campaign(DOORS[door], nursery, folder / door, SEED)
    campaign.until(kills, seconds)
    assert campaign.tally.violations == []
    assert campaign.tally.kills > 0
    return campaign


@pytest.mark.parametrize("door", FIRST)
def test_a_kill_loses_nothing(door, nursery, folder):
    disturb(door, nursery, folder, 2, 10)


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_many_kills_and_faults_lose_nothing(door, nursery, folder):
    campaign = disturb(door, nursery, folder, KILLS, SECONDS)
    print(campaign.tally)
    if possible():
        assert campaign.tally.exact > 0
