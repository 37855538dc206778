"""The photos of the demo with their labels and splits, and published figures to compare with.

Data: 2,624 electroluminescence photos (package ``elpv-dataset``; CC BY-NC-SA 4.0), each with an expert's
probability that the cell is defective. The task ``defective`` is that probability > 0.5.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from store import Item

TASK = "defective"
LABELS = ("defective", "intact")

PUBLISHED = (("SVM, published", 0.824), ("CNN, published", 0.884))
"""Accuracy of Deitsch et al. 2019 (Solar Energy 185) on these photos, on a split of their own."""


@dataclass(frozen=True, slots=True)
class Cell:
    path: Path
    label: str
    split: str


def cells(seed: int = 0) -> list[Cell]:
    """Return all photos with a label and a stratified random 70/10/20 split. Raises ModuleNotFoundError."""
    folder = Path(str(files("elpv_dataset") / "data"))
    rows = [line.split() for line in (folder / "labels.csv").read_text().splitlines() if line.strip()]
    labels = [LABELS[0] if float(probability) > 0.5 else LABELS[1] for _, probability, _ in rows]
    splits = stratified(labels, seed)
    return [Cell(folder / row[0], label, split) for row, label, split in zip(rows, labels, splits, strict=True)]


def items(chosen: Sequence[Cell]) -> Iterator[Item]:
    """Yield the photos as items for `services.jobs.ingest`."""
    for cell in chosen:
        yield Item(uri=str(cell.path), labels=[cell.label], split=cell.split)


def held_out(chosen: Sequence[Cell], count: int) -> list[Cell]:
    """Return `count` photos of the test split, taking the labels in turn."""
    by_label = [[cell for cell in chosen if cell.split == "test" and cell.label == label] for label in LABELS]
    return [cell for pair in zip(*by_label, strict=False) for cell in pair][:count]


def stratified(labels: Sequence[str], seed: int) -> list[str]:
    """Return a split for every row: 70 % train, 10 % val, 20 % test of each label, at random by `seed`."""
    random, splits = np.random.default_rng(seed), np.empty(len(labels), dtype="<U5")
    for label in sorted(set(labels)):
        rows = random.permutation([i for i, found in enumerate(labels) if found == label])
        train, val, test = np.split(rows, [round(0.7 * len(rows)), round(0.8 * len(rows))])
        splits[train], splits[val], splits[test] = "train", "val", "test"
    return splits.tolist()
