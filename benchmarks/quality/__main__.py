"""Test the findings of four papers on this project's data sets, and write the page with the results.

    python -m benchmarks.quality --data FOLDER      with the data sets as Parquet in FOLDER

The data sets are ingested and embedded once, images with lite0, lite1 and lite2, sounds with melstat, into a store in
the work folder. The outcome of each study is kept there under a digest of its data, settings and code. So a stopped
run continues where it stopped, and unchanged studies are not measured again. If a study fails, the page reports it, and
the other studies go on.
"""

import argparse
import sys
import time
from functools import cache
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.quality import adapters, fusion, gaussians, zero_shot
from benchmarks.quality.report import page
from benchmarks.quality.study import Outcome, Study
from benchmarks.quality.vectors import load, prepare
from store import Store

PAPERS = {"gaussians": gaussians, "fusion": fusion, "zero_shot": zero_shot, "adapters": adapters}
"""Modules that define TASKS and studies(store, load) → list[Study], where load(store, task) → Vectors."""
PAGE = Path(__file__).parents[1] / "results" / "quality.md"
WORK = Path("~/.cache/headwater/quality").expanduser()


def show(study: Study, outcome: Outcome) -> None:
    print(f"\n{study.name} ({outcome.seconds:.0f} s)", flush=True)
    for finding in outcome.findings:
        print(f"  {finding.claim}\n    {finding.where}: {finding.figure}: {finding.verdict}", flush=True)
    if outcome.error:
        print(f"  FAILED: {outcome.error}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the store and the outcomes")
    parser.add_argument("--store", type=Path, help="a store with the data sets; default: the one in the work folder")
    parser.add_argument("--papers", nargs="+", choices=PAPERS, default=list(PAPERS))
    parser.add_argument("--fresh", action="store_true", help="measure all studies again")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    print(machine())
    start = time.perf_counter()
    store = Store.open(options.store or options.work / "headwater.db")
    chosen = [PAPERS[name] for name in options.papers]
    prepare(store, options.data, sorted({task for paper in chosen for task in paper.TASKS}))
    done = []
    once = cache(load)
    wanted = [study for paper in chosen for study in paper.studies(store, once)]
    others = [paper.PAPER for name, paper in PAPERS.items() if name not in options.papers]
    for place, study in enumerate(wanted, 1):
        outcome = study.outcome(options.work / "outcomes", fresh=options.fresh)
        show(study, outcome)
        done.append((study, outcome))
        options.page.parent.mkdir(parents=True, exist_ok=True)
        options.page.write_text(page(done, [*(each.name for each in wanted[place:]), *others]))
    print(f"\n{options.page} written after {(time.perf_counter() - start) / 60:.1f} minutes")
    return 1 if any(outcome.error for _, outcome in done) else 0


if __name__ == "__main__":
    sys.exit(main())
