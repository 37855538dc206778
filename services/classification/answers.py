"""From vectors to answers: one pass of each head over the items that have all the vectors it reads."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from classifiers.conformal import Sets
from classifiers.published import Answer, PublishedHead
from services.classification.vectors import ByEncoder
from services.items import Vectored
from services.metrics import Metrics
from services.schemas import ClassifiedItem, HeadAnswer, PredictionSet, Ranked


@dataclass(frozen=True, slots=True)
class Options:
    """What a request asks of every head, see `PublishedHead.answer`."""

    top_k: int
    coverage: float
    sets: Sets
    min_probability: float | None
    max_outlier: float | None

    @property
    def may_abstain(self) -> bool:
        return self.min_probability is not None or self.max_outlier is not None


def answer(
    by_encoder: ByEncoder, heads: Sequence[PublishedHead], options: Options, metrics: Metrics
) -> list[ClassifiedItem]:
    """An item for each item of the request: the answers of all heads, or the problem that it has."""
    columns = list(by_encoder.values())
    items = [_item([column[i] for column in columns]) for i in range(len(columns[0]))]
    with metrics.timed("head"):
        for head in heads:
            blocks = [by_encoder[fingerprint] for fingerprint in head.fingerprints]
            for i, found in _answer_one(head, blocks, options):
                items[i].answers.append(found)
    return items


def _item(parts: Sequence[Vectored]) -> ClassifiedItem:
    error = next((part.error for part in parts if part.error), None)
    return ClassifiedItem(id=parts[0].id, name=parts[0].name, error=error)


def _answer_one(
    head: PublishedHead, blocks: Sequence[Sequence[Vectored]], options: Options
) -> list[tuple[int, HeadAnswer]]:
    rows = {i: parts for i, items in enumerate(zip(*blocks, strict=True)) if (parts := _parts(items))}
    if not rows:
        return []
    X = np.stack([np.concatenate(parts) for parts in rows.values()])
    answers = head.answer(X, **asdict(options))
    return [(i, _as_json(head, found, options)) for i, found in zip(rows, answers, strict=True)]


def _parts(items: Sequence[Vectored]) -> list[np.ndarray[tuple[int], np.dtype[np.float32]]]:
    """The item's vectors in the order of the head's blocks; empty when one is missing."""
    vectors = [item.vector for item in items if item.vector is not None]
    return vectors if len(vectors) == len(items) else []


def _as_json(head: PublishedHead, found: Answer, options: Options) -> HeadAnswer:
    labels, coverage = found.prediction_set, found.coverage
    return HeadAnswer(
        head=head.name,
        version=head.version,
        label=found.label,
        probability=found.probability,
        top_k=[Ranked(label=label, probability=probability) for label, probability in found.top_k],
        prediction_set=None
        if labels is None or coverage is None
        else PredictionSet(labels=list(labels), coverage=coverage),
        outlier_percentile=found.outlier_percentile,
        abstained=bool(found.abstained) if options.may_abstain else None,
        abstained_for=list(found.abstained) or None,
    )
