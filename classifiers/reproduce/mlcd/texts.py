"""What a text side adds: zero-shot classification by class names, and retrieval between images and captions."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import NotTrainable
from classifiers.evaluation.outcomes import bootstrap_interval
from classifiers.evaluation.retrieval import ranks, recall_at
from classifiers.heads.transform import unit_rows
from classifiers.prompts import chunks
from classifiers.training.kinds import CLASS_KINDS, make_estimator
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.scored import scored
from store.tables.label_queries import distinct_labels

SPLITS = ("test", "val", "train")
FIRST = (1, 5, 10)
"""Numbers k of recall at k."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of rows in 0…1, with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, rows: int, seed: int) -> Self:
        """Return the share `value` of so many rows."""
        return cls(value, *bootstrap_interval(value, rows, seed))


def zero_shot(view: Rows, classes: tuple[str, ...], split: str) -> NDArray[np.bool_]:
    """Return which rows of a split the zero-shot head classifies correctly, (m,).

    As in the paper, it knows texts only: the label bank, whose weight would be chosen on labels, is off.

    Raises NotTrainable for an encoder that takes no text.
    """
    estimator = make_estimator("zeroshot", {"bank_weight": 0}, [features.name for features in view.features])
    view.require_texts()
    head = CLASS_KINDS["zeroshot"].learn_again(estimator, view, classes)
    return np.concatenate([each.scores.argmax(axis=1) == each.truth for each in scored(view, head, split)])


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Recall between the images of a split and their captions.

    Attributes:
        images, captions: their numbers. A caption of several images is one caption.
        recall: (direction, vectors) → recall at each of `FIRST`.
    """

    split: str
    images: int
    captions: int
    recall: dict[tuple[str, str], tuple[Share, ...]]


def retrieve(rows: Rows, seed: int) -> Retrieved:
    """Search captions by images and images by captions, among the rows of test; without test rows, of val or train.

    The labels of the task are the captions, one or several for each image. As in the papers, similarity is the cosine.
    It is measured again after the mean of all images is subtracted from them, as zero-shot heads do; no label is needed
    for that.

    Raises NotTrainable: an encoder that takes no text, or no row with a vector and a caption.
    """
    split, X, captions, whose = _captioned(rows)
    texts = np.concatenate([rows.embed_texts(some) for some in chunks(captions)])
    T, U = unit_rows(texts.astype(np.float32)), unit_rows(X)
    recall = {}
    for name, images in {"cosine": U, "cosine, images centred": unit_rows(U - U.mean(axis=0))}.items():
        for way, queries, items, relevant in (
            ("image to text", images, T, whose),
            ("text to image", T, images, np.ascontiguousarray(whose.T)),
        ):
            found = ranks(queries, items, relevant)
            recall[way, name] = tuple(Share.of(recall_at(found, k), len(found), seed) for k in FIRST)
    return Retrieved(split, len(X), len(captions), recall)


def _captioned(rows: Rows) -> tuple[str, NDArray[np.float32], list[str], NDArray[np.bool_]]:
    """Return the split, its images X (n, d), its captions (m,), and which caption is of which image, (n, m)."""
    for split in SPLITS:
        captions = distinct_labels(rows.labelled(split))
        matrix = rows.matrix(split, captions)
        whose = matrix.indicator
        images, texts = np.asarray(whose.any(axis=1)), np.asarray(whose.any(axis=0))
        if images.any():
            kept = [text for text, there in zip(captions, texts, strict=True) if there]
            return split, matrix.X[images], kept, whose[np.ix_(images, texts)]
    raise NotTrainable(
        f"no image of task {rows.task!r} has a caption and a vector of {', '.join(rows.encoders)}; embed the images"
    )
