"""Test accuracy of heads on lite0 vectors of real data sets, with the data sets' own splits.

python -m benchmarks.accuracy --data FOLDER      with clothing10, caltech99 and flowers5 as Parquet in FOLDER
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import machine, verdict
from classifiers.evaluation.figures import Evaluation
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder import registry
from embedder.encoder import Encoder
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest
from services.settings import Settings
from store import Store
from store.interchange import read_sources

LEAST = {"clothing10": 0.87, "caltech99": 0.92, "flowers5": 0.87}
"""Test accuracy that `gaussian` on lite0 must reach."""


def accuracies(encoder: Encoder, data: Path, kind: str = "gaussian") -> dict[str, Evaluation]:
    """Train a head for each task on vectors of `encoder`, and return {task: figures on its test split}."""
    with TemporaryDirectory() as folder:
        store, heads = Store.open(Path(folder) / "headwater.db"), Registry(Path(folder) / "heads")
        for task in LEAST:
            ingest(store, read_sources([data / f"{task}.parquet"]), task=task)
        backfill(store, encoder)
        found = {}
        for task in LEAST:
            made = train(store, heads, task=task, encoders=[encoder.name], kind=kind, name=task)
            found[task] = made.report.evaluations["test"]
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="lite0")
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()
    print(machine())
    encoder = registry.load(options.encoder, backend=options.backend, cache_dir=Settings().cache)
    for kind in ("gaussian", "linear"):
        for task, test in accuracies(encoder, options.data, kind).items():
            figures = f"{task} {kind} (NLL {test.nll:.3f}, ECE {test.ece:.3f}, {test.rows} rows)"
            if kind == "gaussian":
                print(verdict(figures, test.accuracy, LEAST[task], "", at_least=True))
            else:
                print(f"     {figures}: {test.accuracy:.3f}")


if __name__ == "__main__":
    main()
