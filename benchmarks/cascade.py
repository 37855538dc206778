"""Time that a cascade saves: images/s through `POST /classify` and accuracy, compared with calling every encoder.

    python -m benchmarks.cascade --data FOLDER [--store URI] [--task clothing10]

Three heads answer the test images for one client, 32 images per request: a head on lite0, a cascade from lite0 to
lite2, and log-averaging of all three. Costs are the encoders' multiplications; training chooses the threshold.
"""

import argparse
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measure import machine, timed
from benchmarks.quality.vectors import ENCODERS, prepare
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from services.client import Client
from services.processes import free_ports, running
from services.settings import Settings
from store import Store

A_REQUEST, REPEATS = 32, 3
HEADS: dict[str, dict[str, Any]] = {
    "lite0": {"encoders": ["lite0"]},
    "cascade": {"encoders": ENCODERS, "kind": "fusion", "params": {"rule": "cascade", "costs": [0.39, 0.61, 0.87]}},
    "log-average": {"encoders": ENCODERS, "kind": "fusion", "params": {"rule": "log-average"}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", help="a store with the data sets; default: a temporary one")
    parser.add_argument("--task", default="clothing10")
    options = parser.parse_args()
    print(machine())
    with TemporaryDirectory() as folder:
        ports = free_ports(2)
        settings = Settings(
            store=options.store or f"{folder}/headwater.db",
            heads=Path(folder) / "heads",
            encoders=ENCODERS,
            embedding_port=ports[0],
            classification_port=ports[1],
            log_level="WARNING",
        )
        store = Store.open(settings.store)
        prepare(store, options.data, [options.task])
        for name, asked in HEADS.items():
            train(store, Registry(settings.heads), task=options.task, name=name, **asked)
        with running(settings) as services, Client(services.classification_url, timeout=300) as client:
            for name in HEADS:
                print(measured(client, store, options.task, name))


def measured(client: Client, store: Store, task: str, name: str) -> str:
    """Return a line on one head: images/s, accuracy on the test rows, and mean number of encoders called per image."""
    rows = [row for row in store.labels.get(task).to_pylist() if row["split"] == "test"]
    truth = {row["id"]: row["labels"] for row in rows}
    images = [data for _, data in store.assets.contents(list(truth)) if isinstance(data, bytes)]
    items = []

    def ask() -> None:
        items.clear()
        for start in range(0, len(images), A_REQUEST):
            items.extend(client.classify(images[start : start + A_REQUEST], heads=[name]).items)

    rate = len(images) / statistics.median(timed(ask, REPEATS))
    answers = [item.answers[0] for item in items]
    right = sum(truth[str(item.id)] == [answer.label] for item, answer in zip(items, answers, strict=True))
    asked = statistics.mean(len(answer.asked_encoders or HEADS[name]["encoders"]) for answer in answers)
    return f"{name}: {rate:.0f} images/s, accuracy {right / len(items):.3f}, {asked:.2f} encoders per image"


if __name__ == "__main__":
    main()
