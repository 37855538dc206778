"""The command: ``python -m tests.faults --kills 5000 --seed 1``, from the root of the repository.

It prints a table, and exits with 1 if a promise was broken; then it prints the command that shows it again.
"""

import argparse
import secrets
import sys
import time
import warnings
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the helpers that tests share

from tests.faults import inputs
from tests.faults.campaign import Campaign, Tally, fast_folder
from tests.faults.door import Violation
from tests.faults.doors import DOORS
from tests.faults.moments import Moment
from tests.faults.nursery import Nursery


def main() -> int:
    """Run the command of `sys.argv`, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Kill processes, or decode damage.")
    parser.add_argument("--kills", type=int, default=400, help="Number of kills.")
    parser.add_argument("--door", action="append", choices=list(DOORS), help="Only this door; repeat for more.")
    parser.add_argument("--moments", help="Only one trial at the door, with these moments, as a violation names them.")
    parser.add_argument("--inputs", type=int, default=0, help="Number of mutated files to decode instead.")
    parser.add_argument("--item", type=int, help="Only this mutated file, in this process.")
    parser.add_argument("--processes", type=int, default=2, help="Processes that decode.")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="Stop after these minutes.")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="Seed of the random numbers.")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"seed {asked.seed}", flush=True)
    if asked.item is not None:
        print(*inputs.reproduce(asked.seed, asked.item), sep="\n")
        return 0
    if asked.inputs:
        return _decode(asked)
    return _disturb(asked)


def _decode(asked: argparse.Namespace) -> int:
    found = inputs.decode_all(asked.seed, range(asked.inputs), asked.processes, asked.minutes)
    print(found)
    print(
        f"{sum(found.outcomes.values()):,} files, the slowest {found.slowest:.2f} s, {len(found.violations)} violations"
    )
    for number, what in found.violations.items():
        print(f"python -m tests.faults --seed {asked.seed} --item {number}: {what}")
    return int(bool(found.violations))


def _disturb(asked: argparse.Namespace) -> int:
    end = time.monotonic() + 60 * asked.minutes
    with fast_folder() as folder, Nursery() as nursery:
        names = asked.door or list(DOORS)
        campaigns = [Campaign(DOORS[name], nursery, folder / name, asked.seed) for name in names]
        if asked.moments:
            return max(_again(campaign, asked.moments) for campaign in campaigns)
        for trials in cycle([campaign.trials() for campaign in campaigns]):
            next(trials)
            if sum(each.tally.kills for each in campaigns) >= asked.kills or time.monotonic() >= end:
                break
        return _told([campaign.tally for campaign in campaigns])


def _again(campaign: Campaign, moments: str) -> int:
    try:
        campaign.trial(map(Moment.parse, moments.split(",")))
    except Violation as error:
        print(error)
        return 1
    print(f"{campaign.door.name}: no violation")
    return 0


def _told(tallies: Iterable[Tally]) -> int:
    tallies = list(tallies)
    print(Tally.HEADER, *tallies, sep="\n")
    kills = sum(each.kills for each in tallies)
    broken = [violation for each in tallies for violation in each.violations]
    print(f"{kills:,} kills at {len(tallies)} doors, {len(broken)} violations")
    for violation in broken:
        print(f"python -m tests.faults {violation}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
