"""Where the seconds of `headwater compare` go: all default heads on the stored vectors of a task, then the report.

    python -m benchmarks.compare --store URI --task TASK [--encoder NAME]… [--rows 1039] [--folder FOLDER]

It does what the command does, in this process, and prints wall and processor time by head. With --rows, only so many
training rows are used, and no validation rows, so that every head is learned on five folds too. Nothing is written into
the store. Required, with --rows 1039 and three encoders of 1,280 columns on 2 cores: at most 120 s.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measure import machine, verdict
from benchmarks.phases import Phases
from classifiers.compare import page, run
from classifiers.compare.candidates import defaults, with_controls
from classifiers.compare.comparison import Comparison
from classifiers.compare.family import AnyLabels, OneClass
from classifiers.compare.record import RECORD
from classifiers.training.rows.rows import Rows
from services.cli.comparisons import shown_assets
from services.jobs.texts import text_sides
from services.settings import Settings
from store import Store

MOST_SECONDS = 120.0


def started(
    store: Store, settings: Settings, task: str, encoders: Sequence[str], rows: int | None, folder: Path
) -> Comparison:
    """Return a comparison of the default candidates, as the command starts it."""
    several = not Rows(store, task, (), store.snapshot()).one_each
    sided = [name for name in encoders if store.features(name).spec.text is not None]
    candidates = with_controls(defaults(encoders, (), sided, several=several), several=several)
    texts = text_sides(store, settings)
    made = run.start(store, folder, task=task, encoders=encoders, candidates=candidates, texts=texts)
    return made if rows is None else replace(made, rows=few(made.rows, rows))


def few(rows: Rows, count: int) -> Rows:
    """Return the rows without validation rows, and with so many training rows, those of the smallest ids."""
    labels = rows.labels
    ids, splits = (np.array(labels[name].to_pylist()) for name in ("id", "split"))
    kept = (splits == "test") | np.isin(ids, np.sort(ids[splits == "train"])[:count])
    return rows.narrowed(ids[kept].tolist())


def compared(comparison: Comparison, settings: Settings, clock: Phases) -> None:
    """Run the comparison and write its report. Heads of the same settings and width are one phase of the clock."""
    widths = {each.label: rows_wide(comparison, each.encoders) for each in comparison.candidates}
    titles = {each.label: f"{each.title}, {widths[each.label]:,} columns" for each in comparison.candidates}
    with ExitStack() as open_step:

        def on_progress(_: int, __: int, step: str) -> None:
            open_step.close()
            open_step.enter_context(clock.phase(titles.get(step, step.partition(" of ")[0])))

        run.run(comparison, on_progress)
    with clock.phase("report"):
        page.write(comparison, partial(shown_assets, comparison.rows.store, settings.limits))


def rows_wide(comparison: Comparison, encoders: Sequence[str]) -> int:
    return replace(comparison.rows, encoders=tuple(encoders)).dim


def watched() -> Phases:
    """Return a clock that also counts the figures of all heads, their bootstrap, and the winner's learning curve."""
    clock = Phases("opening, and all else")
    for family in (OneClass, AnyLabels):
        clock.watch("figures and bootstrap, all heads", family, "measure", "against")
    clock.watch("temperature, all heads", OneClass, "calibrate")
    clock.watch("temperature, all heads", AnyLabels, "calibrate")
    clock.watch("the winner's learning curve", run, "winners_curve")
    return clock


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--encoder", action="append", help="default: lite0, lite1 and lite2")
    parser.add_argument("--rows", type=int, help="so many training rows, and no validation rows")
    parser.add_argument("--folder", type=Path, help="where the report is kept")
    options = parser.parse_args()
    print(machine())
    store, settings = Store.open(options.store, must_exist=True), Settings(store=options.store)
    encoders = options.encoder or ["lite0", "lite1", "lite2"]
    with TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "compare"
        clock, start, cpu = watched(), time.perf_counter(), time.process_time()
        comparison = started(store, settings, options.task, encoders, options.rows, folder)
        compared(comparison, settings, clock)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    print(f"{options.task}: {len(comparison.trials)} heads, winner {record['winner']}")
    print("\n".join(clock.lines()))
    print(f"{'all':<58}{wall:7.2f} s{cpu:9.2f} s")
    print(verdict("compare", wall, MOST_SECONDS, "s", at_least=False))
    return int(wall > MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
