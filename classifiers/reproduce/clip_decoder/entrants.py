"""The heads of the experiment. Each learns from the seen labels alone, then scores all labels by their texts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.label_figures import mean_average_precision
from classifiers.fit.multilabel.labelwise import LabelwiseClassifier
from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.multilabel.base import LabelsHead
from classifiers.heads.multilabel.bilinear import BilinearHead
from classifiers.reproduce.clip_decoder.images import Images
from classifiers.reproduce.clip_decoder.labels import draws
from classifiers.training.kinds import make_estimator

CHANCE, COSINE, BILINEAR, BANK = "chance", "cosine", "bilinear head", "label bank"
PLAIN, ALIGNED, CAPTIONED = "decoder", "decoder aligned to labels", "decoder aligned to captions"
GROUPS, LABELWISE = "decoder with group queries", "one logistic regression per label"

HELD_OUT, LEAST_LABELS = 0.2, 5
"""Share of the seen labels, and of the rows, that judge a head as if the labels were unseen; and the least number of
labels for it."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a head learns from: rows that have one of the seen labels, without a trace of the other labels.

    Attributes:
        images: the rows; the columns of `truth` are those of `names`.
        names: seen labels, sorted.
        text: their text vectors, (L, t).
        bank: labels that the encoder knows without training; None for none.
        tokens_by_text: true if the tokens lie in the space of the text vectors.
        zero_shot: true if the head will be asked for labels that it does not learn.
        captions: mean caption vector of each row, zero for a row without one, (n, t); None without captions.
    """

    images: Images
    names: tuple[str, ...]
    text: NDArray[np.float32]
    bank: LabelBank | None = None
    tokens_by_text: bool = True
    zero_shot: bool = True
    captions: NDArray[np.float32] | None = None


class Learned(NamedTuple):
    """A head that learned.

    Attributes:
        reads_tokens: true if it scores tokens, false if vectors.
        judged: mean average precision on training rows that were held out; 0 if none were. Of the seen labels, or of
            some that were held out as if they were unseen.
    """

    head: LabelsHead
    reads_tokens: bool = False
    judged: float = 0.0


@dataclass(frozen=True)
class Entrant(ABC):
    """A way to learn a head.

    Attributes:
        family: name in the tables. Of several entrants of a family, the one with the highest `Learned.judged` counts.
        needs_tokens: true if it cannot learn from vectors.
    """

    family: str
    needs_tokens: bool = field(default=False, init=False)

    @property
    def label(self) -> str:
        """The family and what tells the entrant from the others in it."""
        return self.family

    @property
    def alignment(self) -> tuple[str, float] | None:
        """What a decoder is aligned to, and the weight of it; None for other heads."""
        return None

    @abstractmethod
    def learn(self, lesson: Lesson) -> Learned:
        """Learn from the seen labels. Raises NotTrainable, BadVectors, BadParameter."""


@dataclass(frozen=True)
class Cosine(Entrant):
    """The cosine of vector and text, without training."""

    family: str = COSINE

    def learn(self, lesson: Lesson) -> Learned:
        return Learned(BilinearHead.cosine(lesson.names, lesson.text))


@dataclass(frozen=True)
class Bilinear(Entrant):
    """A low-rank correction of the cosine, judged by labels that it did not learn if it will be asked for such labels.

    Judged by the labels that it learned, it would take the loss that fits them best and unseen labels worst.
    """

    family: str = BILINEAR
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return ", ".join([self.family, *(f"{name}={value}" for name, value in self.params.items())])

    def learn(self, lesson: Lesson) -> Learned:
        made = make_estimator("bilinear", self.params)
        made.fit(lesson.images.vectors, lesson.images.truth, lesson.names, text=lesson.text)
        unseen = lesson.zero_shot and len(lesson.names) >= LEAST_LABELS
        return Learned(made.head_, judged=self._unseen_map(lesson) if unseen else best_of(made.judged_))

    def _unseen_map(self, lesson: Lesson) -> float:
        """Return the mAP on a fifth of the rows of a fifth of the labels, by a head that learned from neither."""
        (inner,) = draws(lesson.names, HELD_OUT, (0,))
        order = np.random.default_rng(0).permutation(len(lesson.images.ids))
        held, rest = np.split(order, [int(HELD_OUT * len(order))])
        old, new = (np.flatnonzero(np.isin(lesson.names, names)) for names in (inner.seen, inner.unseen))
        X, Y = lesson.images.vectors, lesson.images.truth
        rest = rest[Y[np.ix_(rest, old)].any(axis=1)]
        made = make_estimator("bilinear", self.params)
        made.fit(X[rest], Y[np.ix_(rest, old)], inner.seen, text=lesson.text[old])
        asked = made.head_.with_labels(inner.unseen, lesson.text[new])
        return mean_average_precision(asked.scores(X[held]), Y[np.ix_(held, new)])


@dataclass(frozen=True)
class Bank(Entrant):
    """The label bank, on tokens that lie in the space of the texts, otherwise on vectors."""

    family: str = BANK

    def learn(self, lesson: Lesson) -> Learned:
        images = lesson.images
        by_tokens = images.tokens is not None and lesson.tokens_by_text
        made = make_estimator("bank", {})
        X = images.tokens if by_tokens else images.vectors
        made.fit(X, images.truth, lesson.names, text=lesson.text, bank=lesson.bank)
        return Learned(made.head_, by_tokens)


@dataclass(frozen=True)
class Decoder(Entrant):
    """The decoder with one weight of the alignment.

    Attributes:
        params: its other parameters.
        captions: aligned to the captions of the rows, not to the texts of their labels.
    """

    family: str = PLAIN
    alpha: float = 0.0
    params: Mapping[str, Any] = field(default_factory=dict)
    captions: bool = False
    needs_tokens: bool = field(default=True, init=False)

    @property
    def label(self) -> str:
        return f"{self.family}, α={self.alpha:g}" if self.alpha else self.family

    @property
    def alignment(self) -> tuple[str, float] | None:
        return ("captions" if self.captions else "labels" if self.alpha else "nothing", self.alpha)

    def learn(self, lesson: Lesson) -> Learned:
        made = make_estimator("decoder", {**self.params, "alpha": self.alpha})
        given = {"text": lesson.text} if made.needs_texts else {}
        if self.captions and lesson.captions is not None:
            given["row_text"] = lesson.captions
        made.fit(lesson.images.tokens, lesson.images.truth, lesson.names, **given)
        return Learned(made.head_, reads_tokens=True, judged=best_of(made.judged_))


@dataclass(frozen=True)
class Labelwise(Entrant):
    """A logistic regression for each label on pooled vectors, which knows trained labels only."""

    family: str = LABELWISE

    def learn(self, lesson: Lesson) -> Learned:
        made = LabelwiseClassifier(max_iter=200).fit(lesson.images.vectors, lesson.images.truth, lesson.names)
        return Learned(made.head_)


def best_of(judged: Sequence[float]) -> float:
    return max(judged, default=0.0)


def by_texts(alphas: Sequence[float], params: Mapping[str, Any], *, captions: bool) -> list[Entrant]:
    """Return the heads that score any label by its text.

    Args:
        alphas: weights of the alignment, besides 0.
        params: parameters of the decoders.
        captions: true if there are captions to align to.
    """
    aligned = [Decoder(ALIGNED, alpha, params) for alpha in alphas]
    captioned = [Decoder(CAPTIONED, alpha, params, captions=True) for alpha in alphas] if captions else []
    bilinear = [Bilinear(params=each) for each in ({"loss": "asl"}, {"loss": "zlpr", "learning_rate": 3e-3})]
    return [Cosine(), *bilinear, Bank(), Decoder(PLAIN, 0.0, params), *aligned, *captioned]


def closed(params: Mapping[str, Any]) -> list[Entrant]:
    """Return the heads that know trained labels only."""
    return [Labelwise(), Decoder(GROUPS, 0.0, {**params, "queries": "groups"})]
