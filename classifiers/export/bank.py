"""The scores of a `bank` head as ONNX nodes, as `BankHead.score` computes them with NumPy."""

from collections.abc import Iterator, Mapping

import numpy as np

from classifiers.export.writer import Writer
from classifiers.heads.multilabel.bank.head import BankHead
from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.multilabel.bank.members import LEAST, SHARPNESS, Array, Member, softmax


def bank(w: Writer, head: BankHead, x: str) -> str:
    """Return the scores (n, L) of flattened tokens x (n, P·F)."""
    arrays, own, (P, F) = head.arrays(), head.own, head.tokens
    tokens = w.reshaped(x, -1, P, F)
    vectors = w.reduced("Mean", tokens, 1, keep=False)
    features = list(statistics(w, tokens, P))
    if head.bank is not None:
        features.append(logits(w, head.bank, vectors))
    z = w.op("Sub", w.op("Concat", *features, axis=1), w.constant(arrays["mean"]))
    raw = w.linear(w.op("Div", z, w.constant(arrays["deviation"])), own["linear"], own["constant"])
    for column in np.flatnonzero(own["mix"].any(axis=0)):
        found = member(w, head, head.members[column], own["text"], tokens, vectors)
        raw = w.op("Add", raw, w.scaled(found, own["mix"][:, column]))
    return w.op("Add", w.scaled(raw, own["slope"]), w.constant(own["bias"] + arrays["shift"]))


def statistics(w: Writer, tokens: str, count: int) -> Iterator[str]:
    """Yield the blocks of `members.statistics` of tokens (n, P, F), each (n, F)."""
    roots = w.op("Mul", w.op("Sign", tokens), w.op("Sqrt", w.op("Abs", tokens)))
    mean = w.reduced("Mean", tokens, 1)
    yield w.reduced("Mean", tokens, 1, keep=False)
    if count > 1:
        centred = w.op("Sub", tokens, mean)
        yield w.reduced("Max", tokens, 1, keep=False)
        yield w.op("Sqrt", w.reduced("Mean", w.op("Mul", centred, centred), 1, keep=False))
    yield w.reduced("Mean", roots, 1, keep=False)


def logits(w: Writer, labels: LabelBank, rows: str) -> str:
    """Return the scores (m, K) of a bank's labels for rows (m, F)."""
    return w.linear(w.unit(rows) if labels.unit else rows, labels.weights, labels.bias)


def member(w: Writer, head: BankHead, which: Member, text: Array, tokens: str, vectors: str) -> str:
    """Return the scores (n, L) of a member, as `Patches.score` and `Patches.rivalry` do."""
    P, F = head.tokens
    rows = w.reshaped(tokens, -1, F)
    if which.name == "cosine":
        return w.linear(w.unit(vectors), text)
    if which.name == "rivals":
        own, every = (w.op("Exp", w.linear(w.unit(rows), SHARPNESS * each)) for each in (text, head.rivals))
        total = w.op("Add", w.reduced("Sum", every, 1), w.scaled(own, np.where(head.inside, 0.0, 1.0)))
        shares = w.reshaped(w.op("Div", own, total), -1, P, len(text))
        return w.op("Log", w.reduced("Max", shares, 1, keep=False))
    if which.name == "conse":
        return conse(w, head, which, text, vectors)
    found = w.reshaped(conse(w, head, which, text, rows), -1, P, len(text))
    return w.reduced(REDUCTIONS[which.name], found, 1, keep=False)


REDUCTIONS: Mapping[str, str] = {"conse-mean": "Mean", "conse-max": "Max"}


def conse(w: Writer, head: BankHead, which: Member, text: Array, rows: str) -> str:
    """Return the scores (m, L) of ConSE for rows (m, F)."""
    if head.bank is None:
        raise ValueError("a head without a label bank cannot have a member that reads one")
    near = softmax(text @ head.bank.text.T / np.float32(which.texts))
    there = w.op("Softmax", w.scaled(logits(w, head.bank, rows), 1.0 / which.labels), axis=-1)
    return w.op("Log", w.op("Add", w.linear(there, near), w.constant(LEAST)))
