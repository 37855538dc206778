"""One small training for each way of learning by gradients, as functions that return its arrays and figures."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.fit.discrimination.adapter import fit_adapter
from classifiers.fit.discrimination.losses import NONE
from classifiers.fit.discrimination.recipe import LOSSES, Recipe
from classifiers.fit.multilabel.bilinear import BilinearClassifier
from classifiers.fit.multilabel.decoder import DecoderClassifier
from classifiers.heads.transform import unit_rows

Learned = tuple[dict[str, NDArray[Any]], NDArray[Any]]
"""Learned arrays, and scores or vectors of the rows (n, …)."""

_RNG = np.random.default_rng(0)
_LABELS = _RNG.random((200, 7)) < 0.3
_TEXT = _RNG.normal(size=(7, 24)).astype(np.float32)
_TOKENS = (_RNG.normal(size=(200, 5, 24)) + (_LABELS @ _TEXT)[:, None] + 1).astype(np.float16)
_UNITS = unit_rows(_RNG.normal(size=(900, 16)).astype(np.float32))


def _decoder(**given: Any) -> Learned:
    model = DecoderClassifier(width=16, heads=4, hidden=24, epochs=4, batch=33, **given)
    head = model.fit(_TOKENS, _LABELS, text=_TEXT).head_
    return head.arrays(), head.scores(_TOKENS.reshape(len(_TOKENS), -1))


def _bilinear(**given: Any) -> Learned:
    head = BilinearClassifier(rank=4, epochs=5, batch=33, **given).fit(_TOKENS[:, 0], _LABELS, text=_TEXT).head_
    return head.arrays(), head.scores(_TOKENS[:, 0].astype(np.float32))


def _adapter(*, fewer: bool = False, **given: Any) -> Learned:
    centres = _UNITS[::30]
    nearest = np.argsort(-_UNITS @ centres.T, axis=1)[:, :4]
    if fewer:
        nearest[::2, 2:] = NONE
    fitted = fit_adapter(_UNITS, centres, nearest, Recipe(epochs=3, dim=8, **given))
    return fitted.arrays, np.array([(each.loss, each.positive, each.negative) for each in fitted.curve])


TRAININGS: dict[str, Callable[[], Learned]] = {
    "decoder, text": lambda: _decoder(),
    "decoder, groups": lambda: _decoder(queries="groups"),
    "decoder, no dropout, no L_clip": lambda: _decoder(dropout=0, alpha=0),
    "decoder, last epoch": lambda: _decoder(held_out=0),
    "bilinear": lambda: _bilinear(),
    "bilinear, zlpr": lambda: _bilinear(loss="zlpr", centre=True),
    "bilinear, two spaces": lambda: _bilinear(shared=False),
    **{f"adapter, {loss}": lambda loss=loss: _adapter(loss=loss) for loss in LOSSES},
    "adapter, fewer positives for half of the rows": lambda: _adapter(fewer=True),
    "adapter, hidden": lambda: _adapter(hidden=12),
}
