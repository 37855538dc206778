"""CLIP-Decoder on stored tokens, as an estimator that yields a `DecoderHead`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.errors import BadParameter, BadVectors
from classifiers.fit.multilabel.base import (
    LabelsEstimator,
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

    L_asl is the asymmetric loss, summed over labels, its mean over rows. L_clip is the symmetric contrastive loss
    between the mean of a row's embedded tokens and the text vector of its set of labels, through two projections and a
    temperature that are learned and then left behind; rows with the same set share its target, and rows without
    labels take no part. The authors sum the first loss over rows too, which leaves the second all but without
    effect, and tune the towers.

    Tokens and text vectors are centred and divided by their deviation first, so that one learning rate fits all; that
    is folded into the first weights afterwards. Biases start at the log odds of the labels. Weights are averaged, and
    kept from the epoch with the highest mean average precision on rows held out.

    Memory: the tokens as they come, in any float type or memory-mapped, and about
    batch · (4 · P · width + L · (2 · hidden + 10 · width)) floats of a step.

    Args:
        queries: "text": one a label, from its text vector, so that other labels can be asked without training;
            "groups": fixed random ones, at most 100, that share the labels among themselves.
        width, heads, hidden: of the layer; width a multiple of heads. The paper has 768, 8 and 2048, on GPUs.
        dropout: share of the values dropped while training.
        alpha, beta: weights of the losses. alpha has no effect without text vectors, which "groups" can do without.
        epochs, batch, learning_rate: of AdamW, see `classifiers.fit.descent`. A third of this rate is too slow for
            few epochs: on real tasks the mean average precision still rises when it ends.
        held_out: share of the rows that says when to stop; with fewer than 10, or at 0, the last epoch is kept.
        seed: of the rows held out, the order of the others, the first weights and the dropout.
        prompts: templates of the text vectors, for callers that make these from names; fit takes them as they come.

    Attributes:
        classes_: names of the labels, in the order of the columns of Y, (L,); 0…L-1 where fit was given none.
        epoch_: whose weights were kept.
        judged_: mean average precision on the rows held out, by epoch from 0, the start; empty where none were.
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

    def fit(
        self,
        X: ArrayLike,
        Y: ArrayLike,
        classes: Sequence[str] | None = None,
        *,
        text: ArrayLike | None = None,
        set_text: ArrayLike | None = None,
    ) -> Self:
        """Learns from tokens X (n, P, F), P > 1, and which labels each row has, Y (n, L) of 0 and 1.

        L_clip sees nothing but these labels, so none that is kept for zero-shot tests can leak through it.

        Args:
            classes: names of the labels; the head has "0", "1", … without.
            text: a vector a label, (L, t). "groups" can do without.
            set_text: a vector for each set of labels that `label_sets(Y)` lists, (S, t), such as those of sentences
                "a photo of a, b and c". None: the mean of the labels' unit vectors.

        Raises:
            BadVectors: one token a row, values that are not finite, or text vectors that do not fit.
            NotTrainable: labels that do not fit the rows, or a loss that is no longer finite.
            BadParameter: see the class.
        """
        # torch takes a second to import, which the other kinds need not pay
        from classifiers.fit.multilabel.decoder_training import train

        tokens = check_tokens(X)
        there, names = check_labels(Y, len(tokens), classes)
        self._check(text is not None)
        texts = None if text is None else check_text(text, len(names))
        sets, which = label_sets(there)
        sentences = None if texts is None or not self.alpha else check_sentences(set_text, sets, texts)
        split = hold_out(there, self.held_out, self.seed)
        arrays, self.epoch_, self.judged_ = train(self._plan(), tokens, there, texts, sentences, which, split)
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


def check_sentences(given: ArrayLike | None, sets: NDArray[np.bool_], text: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors of the sets of labels (S, L) for L_clip: those given, or the means of their labels'. BadVectors."""
    if given is None:
        return mean_text(sets, text)
    if np.shape(given)[:1] != (len(sets),):
        raise BadVectors(
            f"set_text has shape {np.shape(given)}, but label_sets(Y) lists {len(sets)} sets; make one vector for each "
            "of them, from these labels alone"
        )
    return check_text(given, len(sets))


def check_tokens(X: ArrayLike) -> NDArray[Any]:
    """Tokens (n, P, F) in the float type that they come in. Raises BadVectors, for one token a row with the reason."""
    tokens = np.asanyarray(X)
    require_tokens(tokens.shape[1:])
    if tokens.dtype.kind != "f":
        raise BadVectors(f"expected tokens of a float type, got dtype {tokens.dtype}")
    return tokens
