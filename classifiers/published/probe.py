"""Checks of a head before it is served: its arrays hold ordinary numbers, and it answers for ordinary vectors.

A damaged head may load and then give NaN for every row. So a few rows go through the head once, when it is loaded.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.published.head import PublishedHead

LARGEST = 1e30
"""Largest absolute value in the arrays of a head. Products of two such values and a vector are beyond float32."""

LONGEST = 1e4
"""Norm of the longest probe row. Vectors of encoders are shorter."""

USUAL = 0.9
"""Coverage of the prediction sets of the probe rows. Heads of protocols 1 and 2 may have others."""

MOST_SECONDS = 5.0
"""Most processor time that the probe rows may take, seconds."""


def check_arrays(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise ValueError if an array holds NaN, +infinity, or a finite value beyond ± `LARGEST`.

    -infinity is allowed: it is the score of a class without a training row.
    """
    for name, array in arrays.items():
        if not array.size:
            continue
        finite = np.where(np.isneginf(array), 0, array) if array.min() == -np.inf else array
        if not (finite.min() >= -LARGEST and finite.max() <= LARGEST):
            raise ValueError(f"array {name[:100]!r} holds NaN, infinity or a value beyond ±{LARGEST:g}")


def check_answers(published: PublishedHead) -> None:
    """Raise ValueError unless the head gives probabilities for `rows`, in the time that it may take.

    A fused head is asked for each of its encoders alone too, a cascade after each of its steps.
    """
    started = time.thread_time()
    for part in (published, *_parts(published)):
        _check(part, rows(part.head.dim))
    if (seconds := time.thread_time() - started) > MOST_SECONDS:
        raise ValueError(
            f"the head takes {seconds:.1f} s for {len(rows(1))} rows, at most {MOST_SECONDS:g} s are allowed"
        )


def rows(dim: int) -> NDArray[np.float32]:
    """Return the probe rows (3, dim): zeros, a random direction of norm 1, and another one of norm `LONGEST`."""
    directions = np.random.default_rng(0).standard_normal((2, dim), dtype=np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.concatenate([np.zeros((1, dim), np.float32), directions * np.array([[1], [LONGEST]], np.float32)])


def _parts(published: PublishedHead) -> Iterator[PublishedHead]:
    """Yield the heads for one encoder of a fused head each, and for the first steps of a cascade."""
    if published.head.partial and len(published.inputs) > 1:
        yield from (published.from_some([each]) for each in published.inputs)
    yield from (published.stopped_before(published.steps[:count]) for count in range(1, len(published.steps)))


def _check(part: PublishedHead, probe: NDArray[np.float32]) -> None:
    """Raise ValueError unless the head gives every probe row probabilities, which sum to 1 for exactly one class."""
    if part.head.dim != part.manifest.dim:
        raise ValueError(f"a part of the head reads {part.head.dim} columns, its encoders have {part.manifest.dim}")
    with np.errstate(all="ignore"):
        proba = part.head.predict_proba(probe)
        whole = proba.sum(axis=1, dtype=np.float64) if part.head.link == "softmax" else np.ones(len(proba))
        if proba.shape != (len(probe), len(part.head.classes)) or not np.allclose(whole, 1, atol=1e-3):
            raise ValueError("the head gives no probabilities: its numbers are damaged, or too large for float32")
        part.answer(probe, top_k=1, coverage=_coverage(part))


def _coverage(part: PublishedHead) -> float:
    """Return a coverage for which the head has prediction sets. Raises ValueError if it has them for no number."""
    stored = part.manifest.conformal
    return float(next(iter(stored), USUAL)) if isinstance(stored, dict) else USUAL
