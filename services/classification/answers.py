"""From vectors to answers: one pass of each head over the items that have all the vectors it reads."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from classifiers.evaluation.conformal import Sets
from classifiers.published.answer import Answer
from classifiers.published.head import PublishedHead
from services.classification.vectors import ByEncoder, answerable
from services.web.metrics import Metrics
from services.web.schemas import ClassifiedItem, HeadAnswer, PredictionSet, Ranked

OTHER_MODALITY = "wrong_modality"
"""No problem of an item that another head has answered: heads of sounds and of pictures may be asked together."""


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
    items = [ClassifiedItem(id=part.id, name=part.name) for part in columns[0]]
    with metrics.timed("head"):
        for head in heads:
            for i, found in _answers(head, by_encoder, options):
                items[i].answers.append(found)
    for i, item in enumerate(items):
        if len(item.answers) < len(heads):
            problems = [part.error for part in (column[i] for column in columns) if part.error]
            real = [each for each in problems if each.code != OTHER_MODALITY]
            item.error = next(iter(real or problems), None) if real or not item.answers else None
    return items


def _answers(head: PublishedHead, by_encoder: ByEncoder, options: Options) -> Iterator[tuple[int, HeadAnswer]]:
    """The number of each item that the head can answer, and the answer."""
    for asked, rows in answerable(head, by_encoder):
        answers = asked.answer(np.stack(list(rows.values())), **asdict(options))
        yield from ((i, _as_json(asked, found, options)) for i, found in zip(rows, answers, strict=True))


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
