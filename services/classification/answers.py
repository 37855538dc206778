"""Answers of heads as JSON: each head scores all items that have the vectors it reads in one pass."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import VectorsOverflow
from classifiers.evaluation.conformal import Sets
from classifiers.published.answer import Answer
from classifiers.published.asking import answerable
from classifiers.published.head import PublishedHead
from services.classification.media import OTHER_MODALITY
from services.classification.vectors import Columns
from services.web.metrics import Metrics
from services.web.schemas import ClassifiedItem, HeadAnswer, PredictionSet, Problem, Ranked
from services.web.wire import Vectored


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a request that hold for every head, see `PublishedHead.answer`."""

    top_k: int
    coverage: float
    sets: Sets
    min_probability: float | None
    max_outlier: float | None

    @property
    def may_abstain(self) -> bool:
        return self.min_probability is not None or self.max_outlier is not None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `PublishedHead.answer`."""
        return {name: getattr(self, name) for name in _OPTIONS}


_OPTIONS = tuple(field.name for field in fields(Options))


def answer(
    columns: Columns, heads: Sequence[PublishedHead], options: Options, metrics: Metrics
) -> list[ClassifiedItem]:
    """Return an item for each item of the request: the answers of all heads, or the item's problem.

    A file of another modality is no problem if another head answers it: heads for sounds and heads for images may be
    asked together.
    """
    parts = list(zip(*columns.values(), strict=True))
    items = [_named(each) for each in parts]
    overflowed: dict[int, Problem] = {}
    with metrics.timed("head"):
        for head in heads:
            for answering, vectors in answerable(head, columns):
                metrics.answers(answering.name, answering.version, len(vectors))
                for i, found in _answers(answering, vectors, options, overflowed):
                    items[i].answers.append(found)
    for i, (item, each) in enumerate(zip(items, parts, strict=True)):
        if len(item.answers) < len(heads):
            problems = [problem for problem in (*(part.error for part in each), overflowed.get(i)) if problem]
            real = [each for each in problems if each.code != OTHER_MODALITY]
            item.error = next(iter(real or problems), None) if real or not item.answers else None
    return items


def _named(parts: Sequence[Vectored]) -> ClassifiedItem:
    """Return the item without answers. Its id comes from an embedded input: files have no id before."""
    id_ = next((part.id for part in parts if part.id is not None), None)
    return ClassifiedItem(id=id_, name=parts[0].name)


def _answers(
    head: PublishedHead,
    vectors: Mapping[int, NDArray[np.float32]],
    options: Options,
    overflowed: dict[int, Problem],
) -> Iterator[tuple[int, HeadAnswer]]:
    """Yield the number of each item with its answer. Items whose vectors overflow go into `overflowed` instead."""
    if not vectors:
        return
    try:
        answers = head.answer(np.stack(list(vectors.values())), **options.arguments())
    except VectorsOverflow as error:
        fitting, numbers = dict(vectors), list(vectors)
        for i in (numbers[row] for row in error.rows):
            overflowed[i] = _too_large(head)
            del fitting[i]
        yield from _answers(head, fitting, options, overflowed)
        return
    yield from ((i, _as_json(head, found, options)) for i, found in zip(vectors, answers, strict=True))


def _too_large(head: PublishedHead) -> Problem:
    message = f"the vector's values are so large that the scores of head {head.name!r} overflow; send it as the encoder"
    return Problem(code="bad_vector", message=f"{message} gives it")


def _as_json(head: PublishedHead, found: Answer, options: Options) -> HeadAnswer:
    labels, coverage = found.prediction_set, found.coverage
    return HeadAnswer(
        head=head.name,
        version=head.version,
        label=found.label,
        probability=found.probability,
        top_k=_ranked(found.top_k),
        labels=None if found.labels is None else _ranked(found.labels),
        prediction_set=None
        if labels is None or coverage is None
        else PredictionSet(labels=list(labels), coverage=coverage),
        outlier_percentile=found.outlier_percentile,
        abstained=bool(found.abstained) if options.may_abstain else None,
        abstained_for=list(found.abstained) or None,
        missing_encoders=list(head.missing) or None,
        accuracy_lost=head.accuracy_lost,
        asked_encoders=list(head.asked) or None,
    )


def _ranked(labels: Sequence[tuple[str, float]]) -> list[Ranked]:
    return [Ranked(label=label, probability=probability) for label, probability in labels]
