"""Accuracy of heads on `melstat` vectors of spoken digits, and the speed of embedding sounds.

    python -m benchmarks.sounds --data FOLDER      with fsdd_share.parquet in FOLDER

The test and training splits have the same speakers. With the speakers as groups, folds leave each of them out in turn.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import machine, verdict
from classifiers.evaluation.reports.report import Report
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder import registry
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest
from store import Store
from store.interchange import read_sources

TASK, GROUPED, ENCODER = "fsdd_share", "fsdd_speakers", "melstat"
KINDS = ("gaussian", "linear", "mixture")
LEAST = 0.90


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    source = parser.parse_args().data / f"{TASK}.parquet"
    print(machine())
    with TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "headwater.db")
        ingest(store, read_sources([source]), task=TASK)
        ingest(store, read_sources([source], group="speaker"), task=GROUPED)
        done = backfill(store, registry.load(ENCODER))
        print(f"{ENCODER}: {done.done:,} sounds embedded, {done.items_per_second:,.0f} a second")
        for kind in KINDS:
            plain, grouped = (report(store, Registry(Path(folder) / "heads"), task, kind) for task in (TASK, GROUPED))
            accuracy = plain.summaries()["test"]["accuracy"]
            print(verdict(f"{kind}, accuracy on the test split", accuracy, LEAST, "", at_least=True))
            if grouped.groups:
                print(f"     {kind}, folds: " + ", ".join(f"{by} {f:.3f}" for by, f in grouped.groups.folds.items()))


def report(store: Store, registered: Registry, task: str, kind: str) -> Report:
    """Train a head, and return its report."""
    return train(store, registered, task=task, encoders=[ENCODER], kind=kind, name=f"{task}-{kind}").report


if __name__ == "__main__":
    main()
