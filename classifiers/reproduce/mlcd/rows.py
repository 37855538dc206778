"""The rows of the experiment: those that adapters learn from without labels, and labelled rows that judge them."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from classifiers.clustering.clusters import Clustering, centred
from classifiers.clustering.kmeans import fit_centres, mean_direction
from classifiers.clustering.unlabelled import Unlabelled
from classifiers.errors import NotTrainable
from classifiers.training.rows.rows import Rows


@dataclass(frozen=True, slots=True)
class Part:
    """Labelled rows: raw vectors X float32 (n, d), codes int64 (n,)."""

    X: NDArray[np.float32]
    codes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Parts:
    """The labelled rows of one task with the vectors of one encoder.

    Attributes:
        train, val: settings are chosen on `val`, by what learned from `train`.
        test: looked at once, after all choices.
        validated_on: name of the rows `val`, for the reader.
    """

    classes: tuple[str, ...]
    train: Part
    val: Part
    test: Part
    validated_on: str

    @property
    def both(self) -> Part:
        """The rows of train and val, from which the final classifiers learn."""
        return Part(np.concatenate([self.train.X, self.val.X]), np.concatenate([self.train.codes, self.val.codes]))


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

    Raises NotTrainable: no single label for each row, too few training rows to hold some out, or no test rows.
    """
    classes = rows.classes()
    views = rows.validations()
    if not views:
        raise NotTrainable(
            f"task {rows.task!r} has no rows in split 'val', and only {rows.labelled('train').num_rows} training rows, "
            "too few to hold some out, so nothing can be chosen; label more rows"
        )
    view = views[0]
    train, val, test = (_part(view, split, classes) for split in ("train", "val", "test"))
    for split, part in {"train": train, "val": val, "test": test}.items():
        if not len(part.codes):
            raise NotTrainable(
                f"task {rows.task!r} has no row in split {split!r} with a class of the training rows and a vector of "
                f"{', '.join(rows.encoders)}; label some, or embed them"
            )
    named = "rows of val" if view.fold is None else "training rows that were held out"
    return Parts(classes, train, val, test, named), view


def _part(rows: Rows, split: str, classes: tuple[str, ...]) -> Part:
    matrix = rows.matrix(split, classes)
    known = matrix.codes >= 0
    return Part(matrix.X[known], matrix.codes[known])


def learning_rows(view: Rows, *, everything: bool) -> Learning:
    """Return the rows to learn from: those in split train of the task, or with `everything` all of the store.

    Rows that any task has in val, test or ood are left out, and so is the fold that `view` holds out.
    """
    [features] = view.features
    found = Unlabelled(view.store, features, view.snapshot, None if everything else view.task)
    ids, X = found.sample(len(found.ids), 0)
    held = set(view.labelled("val")["id"].to_pylist())
    return Learning.of(features.name, X[[id_ not in held for id_ in ids]])
