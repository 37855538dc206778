"""Test accuracy of class names alone, and with a label bank, whose parameters other tasks chose.

    python -m benchmarks.label_bank --store URI [--encoder lite0]… TASK…

- texts: the cosine with the text, less the mean of the training rows.
- bank: `Synthesis`; its sharpness 1/τ and weight are the best ones on the training rows of the other tasks.
- ConSE (arXiv 1312.5650): w · log Σ_k softmax(ℓ / T)_k softmax(cosines / τ)_k is added to the cosine, both at one scale
  class by class; T, τ and w are the best ones on the training rows of the other tasks.
- zeroshot: the head that training makes, which chooses the weight on labelled rows of the task itself.

The second table shows the gain over texts on training rows by the number of rows that the head saw without labels, with
the sharpness and the weight that training has where it cannot choose. Test rows choose nothing.
"""

import argparse
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.multilabel.bank.members import LEAST, softmax
from classifiers.heads.synthesis import SHARPNESS
from classifiers.heads.transform import unit_rows
from classifiers.prompts import class_vectors, default_prompts
from classifiers.training.kinds import CLASS_KINDS, make_estimator
from classifiers.training.learning.by_text import UNCHOSEN
from classifiers.training.rows.rows import Rows
from services.jobs.texts import text_sides
from services.settings import Settings
from store import Matrix, Store

Array = NDArray[np.float32]
Parameters = tuple[float, ...]

TAUS, WEIGHTS, TEMPERATURES = (0.05, 0.07, 0.1), (1.0, 2.0, 4.0), (3.0, 5.0)
SEEN, DRAWS = (5, 10, 20, 64, 256), 3
MOST = 1000
"""Maximum number of training rows that choose parameters."""


@dataclass
class Task:
    """One task with one encoder: rows, the texts of its classes (K, d), and the encoder's bank."""

    rows: Rows
    train: Matrix
    test: Matrix
    text: Array
    bank: LabelBank

    @classmethod
    def read(cls, store: Store, task: str, encoder: str) -> "Task":
        rows = Rows(store, task, (encoder,), store.snapshot(), texts=text_sides(store, Settings()))
        classes = rows.classes()
        text = class_vectors(rows.embed_texts, classes, default_prompts(rows.encoders), rows.edges())
        train, test = (rows.matrix(split, classes) for split in ("train", "test"))
        some = np.random.default_rng(0).permutation(len(train.ids))[:MOST]
        train = replace(train, ids=[train.ids[i] for i in some], X=train.X[some], labels=train.labels.take(some))
        return cls(rows, train, test, text.astype(np.float32), rows.label_bank())

    def near(self, tau: float) -> Array:
        return softmax(self.text @ self.bank.text.T / np.float32(tau)).T

    def synthesised(self, X: Array, tau: float) -> Array:
        return unit_rows(X) @ (self.bank.weights - self.bank.weights.mean(axis=0)).T @ self.near(tau)

    def conse(self, X: Array, temperature: float, tau: float) -> Array:
        return np.log(softmax(self.bank.logits(X) / np.float32(temperature)) @ self.near(tau) + LEAST)

    def accuracy(self, score, parameters: Parameters, rows: Matrix, seen: NDArray[np.int64] | slice) -> float:
        """Return the accuracy on rows of cosine + weight · score, brought to one scale on training rows `seen`."""
        *own, weight = parameters
        reference = self.train.X[seen]
        centre = unit_rows(reference).mean(axis=0)
        cosines, others = ((unit_rows(X) - centre) @ self.text.T for X in (rows.X, reference))
        found, known = (score(self, X, *own) for X in (rows.X, reference))
        part = (found - known.mean(axis=0)) / (known.std(axis=0) + 1e-9) * others.std(axis=0).mean()
        return float(np.mean((cosines + weight * part).argmax(axis=1) == rows.codes))


MEMBERS = {
    "bank": (Task.synthesised, [*product(TAUS, WEIGHTS)]),
    "ConSE": (Task.conse, [*product(TEMPERATURES, TAUS, WEIGHTS)]),
}


def trained(task: Task) -> tuple[float, float]:
    """Return the test accuracy of the head that training makes, and the weight that it chose."""
    head = CLASS_KINDS["zeroshot"].learned(make_estimator("zeroshot", {}, task.rows.encoders), task.rows).head
    right = (
        np.array(head.classes)[head.scores(task.test.X).argmax(axis=1)] == np.array(task.test.classes)[task.test.codes]
    )
    return float(right.mean()), float(head.settings().get("bank_weight", 0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--encoder", action="append")
    parser.add_argument("tasks", nargs="+")
    options = parser.parse_args()
    store, encoders = Store.open(options.store, must_exist=True), options.encoder or ["lite0"]
    tasks = {(name, encoder): Task.read(store, name, encoder) for name in options.tasks for encoder in encoders}
    every = slice(None)
    gains: dict[str, dict[Parameters, dict[str, float]]] = {}
    for member, (score, grid) in MEMBERS.items():
        for parameters in grid:
            each = {key: t.accuracy(score, parameters, t.train, every) for key, t in tasks.items()}
            gains.setdefault(member, {})[parameters] = {
                name: float(np.mean([each[name, encoder] for encoder in encoders])) for name in options.tasks
            }
    print("| task | encoder | texts | bank | ConSE | zeroshot | its weight | τ, w of others | T, τ, w of others |")
    print(f"|{'---|' * 9}")
    for (name, encoder), task in tasks.items():
        best = {
            member: max(found, key=lambda p: sum(value for other, value in found[p].items() if other != name))
            for member, found in gains.items()
        }
        texts = task.accuracy(Task.synthesised, (0.07, 0.0), task.test, every)
        figures = [task.accuracy(MEMBERS[member][0], best[member], task.test, every) for member in MEMBERS]
        head, weight = trained(task)
        cells = " | ".join(f"{figure:.3f}" for figure in (texts, *figures, head))
        print(f"| {name} | {encoder} | {cells} | {weight:g} | {best['bank']} | {best['ConSE']} |", flush=True)
    print(f"\n| task | {' | '.join(f'{count} rows' for count in SEEN)} |\n|---|{'---|' * len(SEEN)}")
    for name in options.tasks:
        cells = []
        for count in SEEN:
            differences = []
            for encoder, draw in product(encoders, range(DRAWS)):
                task = tasks[name, encoder]
                seen = np.random.default_rng(draw).permutation(len(task.train.ids))[:count]
                texts, bank = (
                    task.accuracy(Task.synthesised, (1 / SHARPNESS, weight), task.train, seen)
                    for weight in (0.0, UNCHOSEN)
                )
                differences.append(100 * (bank - texts))
            cells.append(f"{np.mean(differences):+.1f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
