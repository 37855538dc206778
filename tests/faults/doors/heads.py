"""Heads: training and publishing one, and pointing an alias at it."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.heads import LinearHead
from classifiers.published.manifest import EncoderBlock, TrainingRecord
from classifiers.published.registry import ALIASES, LOCK, VERSION, Registry
from store import Asset, Store

from ..door import Acknowledge, Door, State, Vector, Violation


def of_registry(root: Path) -> State:
    """Return versions and aliases of all heads by the digest of their content. Raises Violation for a refused head."""
    registry, found = Registry(root), dict[str, Any]()
    heads, refused = registry.load_all()
    if refused:
        raise Violation(f"a head is refused: {refused}")
    for name in registry.names():
        for version in registry.versions(name):
            key = f"{name}/{version[-12:]}"
            if key in found:
                raise Violation(f"{key} is there twice")
            registry.load(f"{name}@{version}")
            found[key] = True
    return found | {f"alias {name}": head.version[-12:] for name, head in heads.items()}


class Publish(Door):
    """Three heads are published one after the other, and an alias is pointed at each."""

    name = "publish"
    modules = ("classifiers.published.registry",)

    def _record(self) -> TrainingRecord:
        return TrainingRecord(
            parameters={},
            task="t",
            encoders=(EncoderBlock(name="toy", fingerprint="a" * 64, columns=(0, 4)),),
            snapshot={},
            training_ids="b" * 64,
            counts=(1, 2),
            metrics={},
            conformal={},
            outlier=(),
            packages={},
        )

    def _publish(self, home: Path, number: int) -> str:
        head = LinearHead("ab", np.full((2, 4), number, "f4"), np.zeros(2, "f4"))
        return Registry(home / "heads").publish("cats", head, self._record(), {"report.md": b"report" * 100})

    def prepare(self, home: Path) -> None:
        Registry(home / "heads").promote("cats", "good", self._publish(home, 0))

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        for number in (1, 2, 3):
            version = self._publish(home, number)
            acknowledge(f"cats/{version[-12:]}")
        Registry(home / "heads").promote("cats", "good", version)
        acknowledge("alias cats@good")

    def state(self, home: Path) -> State:
        """Return all that is published. `latest` moves with each version, so it has only to load."""
        return {key: value for key, value in of_registry(home / "heads").items() if key not in self._moving}

    _moving = ("alias cats", "alias cats@latest")

    def leftovers(self, home: Path) -> set[str]:
        strange = {
            path.relative_to(home).as_posix()
            for path in (home / "heads").glob("*/*")
            if not VERSION.fullmatch(path.name) and path.name not in (ALIASES, LOCK)
        }
        return super().leftovers(home) | strange


class Train(Publish):
    """A head is learned from a store and published."""

    name = "train"
    modules = ("classifiers.training.pipeline", "sklearn.linear_model", "scipy.linalg")
    _moving = ()

    def prepare(self, home: Path) -> None:
        from helpers.toys import fill, make_toy

        toy, store = make_toy(n=120, n_classes=3), Store.open(home / "db")
        ids = fill(store, toy)
        store.assets.add(Asset(id_, id_, "image", "image/png") for id_ in ids)

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        from classifiers.training.pipeline import train

        store = Store.open(home / "db")
        for kind in ("gaussian", "linear"):
            made = train(store, Registry(home / "heads"), task="toy", encoders=["toy"], name=kind, kind=kind)
            acknowledge(f"{kind}/{made.version[-12:]}")
            acknowledge(f"alias {kind}@latest")


class Compare(Door):
    """A comparison of heads: each candidate that was tried is kept, and a stopped run continues."""

    name = "compare"
    modules = ("classifiers.compare.run", "sklearn.linear_model", "scipy.linalg")

    def prepare(self, home: Path) -> None:
        from helpers.toys import fill, make_toy

        from classifiers.compare.candidates import parse_lines
        from classifiers.compare.run import start

        store = Store.open(home / "db")
        fill(store, make_toy(n=200, n_classes=3))
        candidates = parse_lines(["gaussian", "gaussian norm=unit", "linear C=0.1"], ["toy"])
        start(store, home / "compared", task="toy", encoders=["toy"], candidates=candidates)

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        from classifiers.compare.record import load
        from classifiers.compare.run import run

        comparison = load(Store.open(home / "db"), home / "compared")
        run(comparison, lambda *_: [acknowledge(f"tried {label}") for label in comparison.trials])
        for label in comparison.test:
            acknowledge(f"tested {label}")

    def state(self, home: Path) -> State:
        """Return the figures of all candidates, from the record and from their outcomes on the disk."""
        from classifiers.compare.record import load

        comparison = load(Store.open(home / "db"), home / "compared")
        found: dict[str, Any] = {
            f"tried {label}": (trial.evaluation.summary(), Vector(trial.outcomes.likelihood))
            for label, trial in comparison.trials.items()
        }
        record = json.loads((home / "compared" / "compare.json").read_text())
        return found | {f"tested {label}": each for label, each in record["test"].items()}


DOORS = (Publish, Train, Compare)
