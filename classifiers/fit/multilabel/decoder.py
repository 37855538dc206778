"""The estimator of the decoder head: CLIP-Decoder on stored tokens, for any number of labels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.errors import BadParameter, BadVectors
from classifiers.fit.multilabel.base import (
    LabelsEstimator,
    Targets,
    check_descent,
    check_labels,
    class_names,
    hold_out,
    label_sets,
    mean_text,
)
from classifiers.heads.multilabel.decoder import DecoderHead, require_tokens
from classifiers.heads.text import check_text

if TYPE_CHECKING:
    from classifiers.fit.multilabel.decoder_training import DecoderPlan

Queries = Literal["text", "groups"]


class DecoderClassifier(LabelsEstimator):
    """ML-Decoder's layer on the tokens of a frozen tower, trained with α · L_clip + β · L_asl (arXiv 2406.14830).

    L_asl is the asymmetric loss, summed over labels and averaged over rows. L_clip is the symmetric contrastive loss
    between the mean of a row's embedded tokens and the text vector of its set of labels. It has two projections and a
    temperature of its own, which are learned and then dropped. Rows with the same set of labels share a target; rows
    without labels have no L_clip. The authors differ in two ways: they tune the towers, and they also sum L_asl over
    rows, which makes the effect of L_clip negligible.

    Tokens and text vectors are centred and divided by their deviation first, so that one learning rate suits all. This
    scaling is folded into the first weights afterwards. Biases start at the log odds of the labels. The averaged
    weights of the epoch with the highest mean average precision on held-out rows are kept.

    Memory: the tokens as given, in any float type or memory-mapped, and about
    batch · (4 · P · width + L · (2 · hidden + 10 · width)) floats for a step.

    Args:
        queries: "text" makes one query for each label from its text vector, so that other labels can be scored without
            training. "groups" makes at most 100 fixed random queries, each of which scores several labels.
        width, heads, hidden: sizes of the layer; width is a multiple of heads. The paper has 768, 8 and 2048, on GPUs.
        dropout: share of the values that are dropped while training.
        alpha, beta: weights of the losses. alpha has no effect without text vectors, which "groups" does not need.
        epochs, batch, learning_rate: schedule of AdamW, see `classifiers.fit.descent`. A third of the default rate is
            too slow: on real tasks the mean average precision then still rises at the last epoch.
        held_out: share of the rows that is held out to choose the epoch. With fewer than 10 rows, or at 0, the last
            epoch is kept.
        seed: seed of the held-out rows, the order of the others, the first weights and the dropout.
        prompts: templates of the text vectors, for callers that make text vectors from names. `fit` does not read them.

    Attributes:
        classes_: names of the labels, in the order of the columns of Y, (L,); 0…L-1 if fit was given no names.
        epoch_: number of the epoch that was kept.
        judged_: mean average precision on the held-out rows, for each epoch from 0 on; empty without such rows.
        head_: the learned NumPy head, in float32.
    """

    def __init__(
        self,
        queries: Queries = "text",
        width: int = 256,
        heads: int = 8,
        hidden: int = 512,
        dropout: float = 0.1,
        alpha: float = 0.1,
        beta: float = 1.0,
        epochs: int = 40,
        batch: int = 64,
        learning_rate: float = 3e-3,
        held_out: float = 0.1,
        seed: int = 0,
        prompts: Sequence[str] | None = None,
    ) -> None:
        self.queries = queries
        self.width = width
        self.heads = heads
        self.hidden = hidden
        self.dropout = dropout
        self.alpha = alpha
        self.beta = beta
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.held_out = held_out
        self.seed = seed
        self.prompts = prompts

    @property
    def needs_texts(self) -> bool:
        return bool(self.queries == "text")

    def fit(
        self,
        X: ArrayLike,
        Y: ArrayLike,
        classes: Sequence[str] | None = None,
        *,
        text: ArrayLike | None = None,
        set_text: ArrayLike | None = None,
        row_text: ArrayLike | None = None,
    ) -> Self:
        """Learn from tokens and labels.

        Without `row_text`, L_clip uses only the labels in Y, so labels that are kept for zero-shot tests cannot leak
        through it.

        Args:
            X: tokens (n, P, F), P > 1.
            Y: 1 if a row has a label, else 0, (n, L).
            classes: names of the labels (L,); None for "0", "1", …
            text: a text vector for each label, (L, t). Optional for "groups".
            set_text: a vector for each set of labels in `label_sets(Y)`, (S, t), for example of the sentence "a photo
                of a, b and c". None for the mean of the labels' unit vectors.

        Raises:
            BadVectors: one token a row, values that are not finite, or text vectors that do not fit.
            NotTrainable: labels that do not fit the rows, or a loss that is not finite.
            BadParameter: see the class.
        """
        # Importing torch takes a second; the other kinds of heads do not need it.
        from classifiers.fit.multilabel.decoder_training import train

        tokens = check_tokens(X)
        there, names = check_labels(Y, len(tokens), classes)
        self._check(text is not None)
        texts = None if text is None else check_text(text, len(names))
        targets = None if texts is None or not self.alpha else alignment_targets(there, texts, set_text, row_text)
        split = hold_out(there, self.held_out, self.seed)
        arrays, self.epoch_, self.judged_ = train(self._plan(), tokens, there, texts, targets, split)
        self.classes_ = class_names(names, classes)
        self.head_ = DecoderHead(names, arrays, require_tokens(tokens.shape[1:]), self.heads)
        return self

    def _plan(self) -> "DecoderPlan":
        from classifiers.fit.descent import Schedule
        from classifiers.fit.multilabel.decoder_training import DecoderPlan

        return DecoderPlan(
            queries=self.queries,
            width=self.width,
            heads=self.heads,
            hidden=self.hidden,
            dropout=self.dropout,
            alpha=self.alpha,
            beta=self.beta,
            seed=self.seed,
            schedule=Schedule(epochs=self.epochs, batch=self.batch, learning_rate=self.learning_rate),
        )

    def _check(self, text: bool) -> None:
        if self.queries not in get_args(Queries):
            raise BadParameter(f"queries must be one of {', '.join(get_args(Queries))}, got {self.queries!r}")
        if self.queries == "text" and not text:
            raise BadParameter("queries='text' needs a text vector for each label; give them, or set queries='groups'")
        if min(self.heads, self.hidden, self.width) < 1 or self.width % self.heads:
            raise BadParameter(
                f"heads and hidden must be at least 1 and width a multiple of heads, got heads={self.heads}, "
                f"hidden={self.hidden}, width={self.width}"
            )
        if not 0 <= self.dropout < 1:
            raise BadParameter(f"dropout must be from 0 to below 1, got {self.dropout!r}")
        if not (0 <= self.alpha < np.inf and 0 < self.beta < np.inf):
            raise BadParameter(f"alpha must be at least 0 and beta above 0, got {self.alpha!r} and {self.beta!r}")
        check_descent(self.epochs, self.batch, self.learning_rate, self.held_out)

    def _scores(self, X: ArrayLike) -> NDArray[np.float32]:
        tokens = check_tokens(X)
        return self.head_.scores(tokens.reshape(len(tokens), -1))


def alignment_targets(
    there: NDArray[np.bool_], text: NDArray[np.float32], set_text: ArrayLike | None, row_text: ArrayLike | None
) -> Targets:
    """Return the targets of L_clip: texts of sets of labels, or of rows. Raises BadVectors."""
    if row_text is not None:
        if set_text is not None:
            raise BadVectors("L_clip aligns a row to its own text or to that of its labels; give row_text or set_text")
        return row_targets(row_text, len(there))
    sets, which = label_sets(there)
    return check_sentences(set_text, sets, text), which


def row_targets(given: ArrayLike, rows: int) -> Targets:
    """Return the distinct texts of n rows, and the number of each row's text. Raises BadVectors."""
    vectors = np.asarray(given, np.float32)
    if vectors.ndim != 2 or len(vectors) != rows:
        raise BadVectors(f"row_text has shape {vectors.shape}, but there are {rows} rows; make one vector for each")
    some = vectors.any(axis=1)
    if not some.any():
        raise BadVectors("row_text is zero in every row, so there is nothing to align to; leave it out, or set alpha=0")
    texts, which = np.unique(vectors[some], axis=0, return_inverse=True)
    codes = np.full(rows, -1, np.int64)
    codes[some] = which.ravel()
    return check_text(texts, len(texts)), codes


def check_sentences(given: ArrayLike | None, sets: NDArray[np.bool_], text: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a vector for each set of labels, (S, t): the given vectors, or means over labels. Raises BadVectors."""
    if given is None:
        return mean_text(sets, text)
    if np.shape(given)[:1] != (len(sets),):
        raise BadVectors(
            f"set_text has shape {np.shape(given)}, but label_sets(Y) lists {len(sets)} sets; make one vector for each "
            "of them, from these labels alone"
        )
    return check_text(given, len(sets))


def check_tokens(X: ArrayLike) -> NDArray[Any]:
    """Return tokens (n, P, F) in their own float type. Raises BadVectors for other types, and for one token a row."""
    tokens = np.asanyarray(X)
    require_tokens(tokens.shape[1:])
    if tokens.dtype.kind != "f":
        raise BadVectors(f"tokens must have a float type, got dtype {tokens.dtype}")
    return tokens
