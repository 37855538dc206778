"""The members of a `bank` head: functions that score labels by their texts alone, and statistics of tokens.

Sources: ConSE (Norouzi et al. 2013, arXiv 1312.5650) for `conse`, `conse-mean` and `conse-max`.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.transform import unit_rows

Array = NDArray[np.float32]

SHARPNESS = np.float32(20.0)
"""Factor of the cosines when labels compete for a token, see `Patches.rivalry`."""

LEAST = np.float32(1e-30)
"""Added to probabilities before the logarithm."""

WIDTH = 0.2
"""Width of the kernel over texts, see `kernel`."""


class Member(NamedTuple):
    """A member by name, and its two temperatures (for members of ConSE).

    Attributes:
        name: ``cosine``, ``conse``, ``conse-mean``, ``conse-max`` or ``rivals``.
        labels: T, which divides the scores of the bank's labels.
        texts: τ, which divides the cosines of the texts.
    """

    name: str
    labels: float = 1.0
    texts: float = 1.0


class Patches:
    """The tokens of n images, and what the members need of them. Each part is computed when it is first used."""

    def __init__(self, tokens: Array, bank: LabelBank | None) -> None:
        """Take tokens (n, P, F), P ≥ 1. With P = 1, the one token is the vector of the image."""
        self.tokens, self.bank = tokens, bank
        self._latest: tuple[tuple[float, ...], Array | None, Array] = ((), None, tokens)

    @cached_property
    def vectors(self) -> Array:
        """Mean tokens, (n, F)."""
        return np.asarray(self.tokens.mean(axis=1))

    @cached_property
    def logits(self) -> Array:
        """Scores of the bank's labels for each image, (n, K); K = 0 without a bank."""
        if self.bank is None:
            return np.zeros((len(self.tokens), 0), np.float32)
        return self.bank.logits(self.vectors)

    @cached_property
    def token_logits(self) -> Array:
        """Scores of the bank's labels for each token, (n, P, K)."""
        if self.bank is None:
            raise ValueError("a head without a label bank cannot have a member that reads one")
        return self.bank.logits(self.tokens)

    def features(self) -> Array:
        """Return what linear scores read, (n, C): statistics of the tokens, then the scores of the bank's labels."""
        return np.concatenate([statistics(self.tokens), self.logits], axis=1)

    def cosines(self, text: Array) -> Array:
        """Return the cosine of each token with each text of norm 1 (L, F), (n, P, L)."""
        n, P, F = self.tokens.shape
        return np.asarray((unit_rows(self.tokens.reshape(-1, F)) @ text.T).reshape(n, P, -1))

    def score(self, member: Member, text: Array) -> Array:
        """Return the scores (n, L) of a member, except ``rivals``, for labels with texts of norm 1, (L, F)."""
        if member.name == "cosine":
            return np.asarray(unit_rows(self.vectors) @ text.T)
        if member.name == "conse":
            return self._conse(self.logits, member, text)
        temperatures, of, each = self._latest
        if temperatures != member[1:] or of is not text:  # the mean and the maximum are asked one after the other
            each = self._conse(self.token_logits, member, text)
            self._latest = (member[1:], text, each)
        return np.asarray(each.mean(axis=1) if member.name == "conse-mean" else each.max(axis=1))

    def _conse(self, logits: Array, member: Member, text: Array) -> Array:
        """Return log Σ_k softmax(logits / T)_k softmax_k(cosines of l with the bank / τ), (…, L)."""
        if self.bank is None:
            raise ValueError("a head without a label bank cannot have a member that reads one")
        near = softmax(text @ self.bank.text.T / np.float32(member.texts))
        there = softmax(logits / np.float32(member.labels))
        found = there.reshape(-1, there.shape[-1]) @ near.T
        return np.asarray(np.log(found + LEAST).reshape(*logits.shape[:-1], -1))

    def rivalry(self, text: Array, rivals: Array, inside: NDArray[np.bool_]) -> Array:
        """Return how well each label competes with its rivals for one token, (n, L).

        The score is the largest log softmax over the tokens, of `SHARPNESS` · cosine, over the label and its rivals.

        Args:
            text: texts of the labels, norm 1, (L, F).
            rivals: texts of the rivals, norm 1, (S, F).
            inside: True for labels that are rivals themselves, (L,).
        """
        own = np.exp(SHARPNESS * self.cosines(text))
        every = np.exp(SHARPNESS * self.cosines(rivals)).sum(axis=2, keepdims=True)
        return outdone(own, every + np.where(inside, np.float32(0), own))


def outdone(own: Array, total: Array) -> Array:
    """Return the log of the largest share own / total (n, P, L) over the tokens, (n, L)."""
    return np.asarray(np.log((own / total).max(axis=1)))


def statistics(tokens: Array) -> Array:
    """Return four blocks of statistics of tokens (n, P, F), (n, 4F): mean, maximum, deviation, mean of roots.

    A root keeps the sign of its value. With P = 1 there are two blocks, the values and their roots.
    """
    roots = (np.sign(tokens) * np.sqrt(np.abs(tokens))).mean(axis=1)
    if tokens.shape[1] == 1:
        return np.concatenate([tokens[:, 0], roots], axis=1)
    return np.concatenate([tokens.mean(axis=1), tokens.max(axis=1), tokens.std(axis=1), roots], axis=1)


def kernel(a: Array, b: Array) -> NDArray[np.float64]:
    """Return the kernel exp((cosine - 1) / `WIDTH`) of texts of norm 1, (m, t) and (n, t): (m, n)."""
    return np.asarray(np.exp((a.astype(np.float64) @ b.T - 1.0) / WIDTH))


def softmax(scores: Array) -> Array:
    """Return the softmax along the last axis."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    np.exp(shifted, out=shifted)
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
