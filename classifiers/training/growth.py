"""Training of a published head again on parts of its training rows, which shows what more labels would bring."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifiers.errors import BadParameter, NotTrainable
from classifiers.evaluation.learning_curve import LearningCurve, learning_curve
from classifiers.heads.base import Head
from classifiers.published.head import PublishedHead
from classifiers.training.as_learned import rows_as_learned
from classifiers.training.kinds import KINDS, remade_estimator
from classifiers.training.rows.row_f1 import f1, known_rows
from classifiers.training.rows.rows import LabelledRows, Rows, Texts
from store import Store
from store.rows import strings

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Shares of the training rows of each class that heads learn from, besides all rows: each is twice the one before."""

DRAWS = 3
"""Number of random draws of each share. The figures of their heads are averaged."""

LEAST_GROWTH = 1.5
"""Smallest ratio of two neighbouring numbers of training rows. Shares of small classes are rounded up, so two shares of
a few rows can be almost the same rows."""

SPLITS = ("test", "val")
"""Splits on which the heads are measured: the first that has a row."""

Part = frozenset[str]
"""The ids of some training rows."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The learning curve of a published head.

    Attributes:
        split: the split of the rows that measured it.
        figure: "accuracy"; with any number of labels a row "F1", the mean over the rows of the F1 of their labels.
        at_snapshot: False if the rows that the head learned from cannot be read any more, so that today's were used.
    """

    curve: LearningCurve
    split: str
    figure: str
    at_snapshot: bool


def grow(
    store: Store,
    published: PublishedHead,
    *,
    seed: int = 0,
    texts: Texts | None = None,
    on_head: Callable[[int, int], None] = lambda *_: None,
) -> Growth:
    """Measure heads like this one, with the parameters that its user gave, on nested parts of its training rows.

    Each part has the same share of every class, rounded up. Nothing is published. Together the heads take about four
    times as long as the head itself. Memory: that of its training, and the held-out rows.

    Args:
        seed: seed of the choice of rows and of the bootstrap.
        texts: function that embeds texts with an encoder, for kinds that need vectors of texts.
        on_head: called with the number of heads that are done, and of all.

    Raises:
        UnknownTask, UnknownFeatures: from the store, with the names that exist.
        NotTrainable: there are too few training rows, or no held-out rows.
    """
    kind, task = KINDS[published.head.kind], published.manifest.task
    then = rows_as_learned(store, published, texts)
    rows = then or kind.rows(store, task, published.fingerprints, store.snapshot(), texts=texts)
    whole, ids = _learned(published, rows, seed)
    split, held = _held_out(rows, whole.classes)
    curve = curve_of(
        f1(whole, held, whole.classes),
        ids,
        parts(rows, ids, seed),
        lambda part: f1(_learned(published, only(rows, part), seed)[0], held, whole.classes),
        seed=seed,
        on_head=on_head,
    )
    return Growth(curve, split, "accuracy" if kind.targets == "one" else "F1", then is not None)


def curve_of(
    whole: NDArray[np.float64],
    ids: Sequence[str],
    steps: Sequence[Sequence[Part]],
    measure: Callable[[Part], NDArray[np.float64]],
    *,
    seed: int = 0,
    on_head: Callable[[int, int], None] = lambda *_: None,
) -> LearningCurve:
    """Return the learning curve from the figures of held-out rows, for heads on all and on parts of the training rows.

    Args:
        whole: figure of each held-out row under the head that learned from all training rows, in 0…1, (n,).
        ids: those training rows.
        steps: see `parts`.
        measure: returns the same figures, under a head that learned from a part. NotTrainable and BadParameter end the
            curve at the larger parts, because some classes have too few rows.
        on_head: called with the number of heads that are done, and of all.

    Raises NotTrainable if there are too few training rows for two points.
    """
    values, sizes, total = [whole], [len(ids)], DRAWS * len(steps) + 1
    on_head(1, total)
    for number, draws in enumerate(steps):
        found = []
        for draw, part in enumerate(draws):
            try:
                found.append(measure(part))
            except (NotTrainable, BadParameter):
                continue
            finally:
                on_head(2 + number * DRAWS + draw, total)
        if len(found) == len(draws):
            values.append(np.mean(found, axis=0))
            sizes.append(len(draws[0]))
    if len(sizes) < 2:
        raise NotTrainable(
            f"the head learned from {len(ids):,} training rows, too few to leave half of them out; label more rows"
        )
    return learning_curve(sizes[::-1], np.stack(values[::-1], axis=1), seed)


def parts(rows: Rows, ids: Sequence[str], seed: int) -> list[list[Part]]:
    """Return for each share, the largest first, `DRAWS` parts of the training rows `ids`.

    The parts of one draw contain each other. A share that has almost as many rows as the next larger one is left out.
    """
    lists: list[list[str] | None] = rows.labels["labels"].to_pylist()
    first = {id_: labels[0] if labels else "" for id_, labels in zip(strings(rows.labels["id"]), lists, strict=True)}
    ordered = sorted(ids)  # the same parts whatever the order of the rows is
    named = np.array([first[id_] for id_ in ordered])
    groups = [np.flatnonzero(named == name) for name in np.unique(named)]
    generators = [np.random.default_rng((seed, draw)) for draw in range(DRAWS)]
    shuffled = [[generator.permutation(group) for group in groups] for generator in generators]
    found: list[list[Part]] = []
    last = len(ordered)
    for share in reversed(SHARES):
        count = sum(math.ceil(share * len(group)) for group in groups)
        if count * LEAST_GROWTH > last:
            continue
        last = count
        chosen = [[group[: math.ceil(share * len(group))] for group in draw] for draw in shuffled]
        found.append([frozenset(ordered[row] for row in np.concatenate(some)) for some in chosen])
    return found


def only(rows: Rows, part: Part) -> Rows:
    """Return the rows without the training rows that are not in `part`."""
    table = rows.labels
    kept = pc.is_in(table["id"], value_set=pa.array(sorted(part), table["id"].type))
    return replace(rows, table=table.filter(pc.or_(kept, pc.not_equal(table["split"], pa.scalar("train")))))


def _learned(published: PublishedHead, rows: Rows, seed: int) -> tuple[Head, Sequence[str]]:
    """Return a calibrated head like `published`, and the ids of its rows. Raises NotTrainable, BadParameter."""
    kind = KINDS[published.head.kind]
    learned = kind.learned(remade_estimator(published.head.kind, published.manifest.parameters), rows)
    if not any(learned.counts):
        raise NotTrainable("the head learned from no label, so more labels change nothing")
    return kind.calibrated(rows, learned, seed).head, learned.ids


def _held_out(rows: Rows, classes: tuple[str, ...]) -> tuple[str, list[LabelledRows]]:
    """Return the split that measures the heads, and its rows with one of the classes. Raises NotTrainable."""
    for split in SPLITS:
        if found := known_rows(rows, split, classes):
            return split, found
    raise NotTrainable(
        f"task {rows.task!r} has no row in split 'test' or 'val' with a vector and a label that the head knows; label "
        "some rows of these splits"
    )
