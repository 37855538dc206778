"""The rows of the experiment: those that adapters learn from without labels, and labelled rows that judge them."""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.clustering.clusters import Clustering, centred
from classifiers.clustering.kmeans import fit_centres, mean_direction
from classifiers.clustering.unlabelled import Unlabelled
from classifiers.errors import NotTrainable
from classifiers.training.rows.rows import Rows


@dataclass(frozen=True, slots=True)
class Part:
    """Labelled rows: raw vectors X float32 (n, d), and the truth: class codes int64 (n,), or labels bool (n, L)."""

    X: NDArray[np.float32]
    truth: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """The labelled rows of one task with the vectors of one encoder.

    Attributes:
        train, val: settings are chosen on `val`, by what learned from `train`.
        test: looked at once, after all choices.
        exclusive: True if every row of the task has exactly one class; False for any number of labels.
        validated_on: name of the rows `val`, for the reader.
    """

    classes: tuple[str, ...]
    train: Part
    val: Part
    test: Part
    validated_on: str
    exclusive: bool

    @property
    def both(self) -> Part:
        """The rows of train and val, from which the final classifiers learn."""
        return Part(np.concatenate([self.train.X, self.val.X]), np.concatenate([self.train.truth, self.val.truth]))


@dataclass(frozen=True, slots=True)
class Learning:
    """The rows from which adapters learn, and the clusters of these rows that were found so far.

    Attributes:
        X: raw vectors, float32 (n, d). They have no labels.
        mean: mean of the unit-norm vectors, (d,).
        Z: unit(unit(X) − mean), (n, d).
        found: clusters by their number and seed.
    """

    encoder: str
    X: NDArray[np.float32]
    mean: NDArray[np.float32]
    Z: NDArray[np.float32]
    found: dict[tuple[int, int], Clustering] = field(default_factory=dict)

    @classmethod
    def of(cls, encoder: str, X: NDArray[np.float32]) -> Self:
        mean = mean_direction(X)
        return cls(encoder, X, mean, centred(X, mean))

    def clustering(self, clusters: int, seed: int) -> Clustering:
        """Return the centres of k-means with this number of clusters and seed, found at the first call."""
        if (clusters, seed) not in self.found:
            mean, centres = fit_centres(self.X, clusters, seed=seed)
            self.found[clusters, seed] = Clustering(self.encoder, "", mean, centres)
        return self.found[clusters, seed]


def parts_of(rows: Rows) -> tuple[Parts, Rows]:
    """Return the labelled rows, and the view of the task that has them.

    A task without enough rows in val gets a fold of its training rows as val.

    Raises NotTrainable: fewer than two classes, too few training rows to hold some out, or no test rows.
    """
    exclusive = rows.one_each
    classes, read = (rows.classes(), _coded) if exclusive else (rows.label_names(), _labelled)
    views = rows.validations()
    if not views:
        raise NotTrainable(
            f"task {rows.task!r} has no rows in split 'val', and only {rows.labelled('train').num_rows} training rows, "
            "too few to hold some out, so nothing can be chosen; label more rows"
        )
    view = views[0]
    train, val, test = (read(view, split, classes) for split in ("train", "val", "test"))
    for split, part in {"train": train, "val": val, "test": test}.items():
        if not (len(part.truth) if exclusive else part.truth.any()):
            raise NotTrainable(
                f"task {rows.task!r} has no row in split {split!r} with a label of the training rows and a vector of "
                f"{', '.join(rows.encoders)}; label some, or embed them"
            )
    named = "rows of val" if view.fold is None else "training rows that were held out"
    return Parts(classes, train, val, test, named, exclusive), view


def _coded(rows: Rows, split: str, classes: tuple[str, ...]) -> Part:
    matrix = rows.matrix(split, classes)
    known = matrix.codes >= 0
    return Part(matrix.X[known], matrix.codes[known])


def _labelled(rows: Rows, split: str, labels: tuple[str, ...]) -> Part:
    found = rows.labelled_rows(split, labels)
    return Part(found.X, found.Y)


def learning_rows(view: Rows, *, everything: bool) -> Learning:
    """Return the rows to learn from: those in split train of the task, or with `everything` all of the store.

    Rows that any task has in val, test or ood are left out, and so is the fold that `view` holds out.
    """
    [features] = view.features
    found = Unlabelled(view.store, features, view.snapshot, None if everything else view.task)
    ids, X = found.sample(len(found.ids), 0)
    held = set(view.labelled("val")["id"].to_pylist())
    return Learning.of(features.name, X[[id_ not in held for id_ in ids]])
