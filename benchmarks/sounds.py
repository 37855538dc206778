"""Accuracy of heads on `melstat` vectors of spoken digits, and the speed of embedding sounds.

    python -m benchmarks.sounds --data FOLDER      with fsdd_share.parquet in FOLDER

The test and training splits have the same speakers. A second figure leaves each speaker out of training in turn.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.measure import machine, verdict
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder import registry
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest
from store import Store, asset_id
from store.interchange import read_sources

TASK, ENCODER = "fsdd_share", "melstat"
KINDS = ("gaussian", "linear", "mixture")
LEAST = 0.90


def unheard_speakers(X: NDArray[np.float32], digits: NDArray[np.str_], speakers: NDArray[np.str_]) -> dict[str, float]:
    """Return the accuracy on each speaker of a head that learned from the other speakers."""
    found = {}
    for speaker in sorted(set(speakers.tolist())):
        own = speakers == speaker
        head = GaussianClassifier().fit(X[~own], digits[~own])
        found[speaker] = float(np.mean(head.predict(X[own]) == digits[own]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    source = parser.parse_args().data / f"{TASK}.parquet"
    print(machine())
    with TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "headwater.db")
        ingest(store, read_sources([source]), task=TASK)
        done = backfill(store, registry.load(ENCODER))
        print(f"{ENCODER}: {done.done:,} sounds embedded, {done.items_per_second:,.0f} a second")
        for kind in KINDS:
            name = f"digits-{kind}"
            registered = Registry(Path(folder) / "heads")
            report = train(store, registered, task=TASK, encoders=[ENCODER], kind=kind, name=name).report
            accuracy = report.summaries()["test"]["accuracy"]
            print(verdict(f"{kind}, accuracy on the test split", accuracy, LEAST, "", at_least=True))
        matrix = store.matrix(TASK, [ENCODER])
    rows = pq.read_table(source, columns=["audio", "speaker"]).to_pylist()
    speaker = {asset_id(row["audio"]): row["speaker"] for row in rows}
    found = unheard_speakers(matrix.X, np.array(matrix.y)[:, 0], np.array([speaker[id_] for id_ in matrix.ids]))
    each = ", ".join(f"{name} {accuracy:.3f}" for name, accuracy in found.items())
    print(f"gaussian, on speakers that were not in training: mean {np.mean(list(found.values())):.3f} ({each})")


if __name__ == "__main__":
    main()
