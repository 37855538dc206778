"""The estimator of the bilinear zero-shot head for any number of labels."""

from collections.abc import Sequence
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import validate_data

from classifiers.errors import BadParameter
from classifiers.fit.multilabel.base import LabelsEstimator, check_descent, check_labels, class_names, hold_out
from classifiers.heads.multilabel.bilinear import BilinearHead
from classifiers.heads.text import check_text
from classifiers.heads.transform import unit_rows

Loss = Literal["asl", "zlpr"]


class BilinearClassifier(LabelsEstimator):
    """score = scale · uᵀ W t + bias for the image vector u and the text vector t of a label, both of unit norm.

    W = I + left rightᵀ, of low rank, as in `BilinearHead`. Training starts at the cosine and keeps the epoch with the
    highest mean average precision on held-out rows; this may be the start. Labels without training rows can be scored
    by their text, see `TextHead.with_labels`.

    Args:
        rank: rank of the correction; 0 learns only scale and bias.
        loss: "asl" | "zlpr", see `classifiers.fit.multilabel.losses`.
        shared: images and texts share a space, as the two sides of one encoder do. If false, W = left rightᵀ, and
            rank ≥ 1.
        centre: subtract the mean of the training rows from the vectors first.
        epochs, batch, learning_rate: schedule of AdamW, see `classifiers.fit.descent`. With 0 epochs the head is the
            cosine.
        held_out: share of the rows that is held out to choose the epoch. With fewer than 10 rows, or at 0, the last
            epoch is kept.
        seed: seed of the held-out rows, the order of the others and the first weights.
        prompts: templates of the text vectors, for callers that make text vectors from names. `fit` does not read them.

    Attributes:
        classes_: names of the labels, in the order of the columns of Y, (L,); 0…L-1 if fit was given no names.
        epoch_: number of the epoch that was kept; 0 is the cosine.
        judged_: mean average precision on the held-out rows, for each epoch from 0 on; empty without such rows.
        head_: the learned NumPy head, in float32.
    """

    def __init__(
        self,
        rank: int = 128,
        loss: Loss = "asl",
        shared: bool = True,
        centre: bool = False,
        epochs: int = 40,
        batch: int = 256,
        learning_rate: float = 1e-3,
        held_out: float = 0.1,
        seed: int = 0,
        prompts: Sequence[str] | None = None,
    ) -> None:
        self.rank = rank
        self.loss = loss
        self.shared = shared
        self.centre = centre
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.held_out = held_out
        self.seed = seed
        self.prompts = prompts

    @property
    def needs_texts(self) -> bool:
        return True

    def fit(self, X: ArrayLike, Y: ArrayLike, classes: Sequence[str] | None = None, *, text: ArrayLike) -> Self:
        """Learn from vectors and labels.

        Args:
            X: vectors (n, d).
            Y: 1 if a row has a label, else 0, (n, L).
            classes: names of the labels (L,); None for "0", "1", …
            text: a text vector for each label, (L, t).

        Raises:
            NotTrainable: labels that do not fit the rows, or a loss that is not finite.
            BadVectors: text vectors that do not fit the labels, or are zero.
            BadParameter: see the class.
        """
        # Importing torch takes a second; the other kinds of heads do not need it.
        from classifiers.fit.descent import Schedule
        from classifiers.fit.multilabel.bilinear_training import BilinearPlan, train

        vectors = validate_data(self, X, dtype=np.float32)
        there, names = check_labels(Y, len(vectors), classes)
        texts = check_text(text, len(names))
        self._check(vectors.shape[1], texts.shape[1])
        centre = vectors.mean(axis=0, dtype=np.float64).astype(np.float32) if self.centre else None
        units = unit_rows(vectors if centre is None else vectors - centre)
        schedule = Schedule(epochs=self.epochs, batch=self.batch, learning_rate=self.learning_rate)
        plan = BilinearPlan(rank=self.rank, loss=self.loss, shared=self.shared, seed=self.seed, schedule=schedule)
        arrays, self.epoch_, self.judged_ = train(plan, units, there, texts, hold_out(there, self.held_out, self.seed))
        arrays |= {"text": texts, "centre": np.zeros(units.shape[1], np.float32) if centre is None else centre}
        self.classes_, self.head_ = class_names(names, classes), BilinearHead(names, arrays, self.shared)
        return self

    def _check(self, width: int, text_width: int) -> None:
        if self.loss not in get_args(Loss):
            raise BadParameter(f"loss must be one of {', '.join(get_args(Loss))}, got {self.loss!r}")
        if self.rank < (0 if self.shared else 1):
            raise BadParameter(f"rank must be at least 0, or at least 1 if shared is false, got {self.rank}")
        if self.shared and width != text_width:
            raise BadParameter(
                f"vectors have {width} columns and text vectors {text_width}, so they share no space; set shared=false"
            )
        check_descent(self.epochs or 1, self.batch, self.learning_rate, self.held_out)

    def _scores(self, X: ArrayLike) -> NDArray[np.float32]:
        return self.head_.scores(validate_data(self, X, dtype=[np.float32, np.float64], reset=False))
