"""Losses of cluster discrimination, which pull rows to their positive centres and push them from negative centres.

All losses are functions of cosines and return one value per row (MLCD, arXiv 2407.17331). With s_i = s cos(θ_i + m) for
the positives of a row and s_j = s cos θ_j for the negatives drawn for it:

    mlcd     log(1 + Σ_i e^{−s_i}) + log(1 + Σ_j e^{s_j})                   eq. 6: both compared with cosine 0
    mlc      log(1 + Σ_j e^{s_j} Σ_i e^{−s_i})                              eq. 3: each positive with each negative
    single   mlc with the nearest centre as the only positive               eq. 1, the softmax of ArcFace
    unicom   single, on half of the dimensions, drawn at each step          UNICOM, arXiv 2304.05884

mlcd equals log(1 + Σ_j e^{s_j} Σ_i e^{−s_i} + Σ_j e^{s_j} + Σ_i e^{−s_i}). The paper does not state the scale s.
UNICOM's code draws a number of dimensions that the user sets; half of them is the choice of this project.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad, softplus

from classifiers.fit.discrimination.recipe import ONE_POSITIVE

NONE = -1
"""Number in place of a centre where a row has fewer positives than others."""

_EDGE = 1 - 1e-6
"""Cosines are clamped to ±this, because the slope of the angle is infinite at ±1."""


def with_margin(cosines: Tensor, margin: float) -> Tensor:
    """Return cos(θ + m), as in ArcFace. Beyond θ = π − m, where cos(θ + m) rises again, it continues with slope 1.

    Infinity, which marks a missing positive, stays infinity.
    """
    safe = cosines.clamp(-_EDGE, _EDGE)
    turned = safe * math.cos(margin) - (1 - safe * safe).sqrt() * math.sin(margin)
    found = torch.where(safe > -math.cos(margin), turned, safe + math.cos(margin) - 1)
    return torch.where(cosines == math.inf, cosines, found)


def losses(loss: str, positive: Tensor, negative: Tensor, scale: float, margin: float) -> Tensor:
    """Return each row's loss (n,), from cosines with positives (n, p) and negatives (n, q).

    ∞ marks a missing positive, and −∞ a missing negative: neither adds to a loss.
    """
    return (mlcd if loss == "mlcd" else mlc)(positive, negative, scale, margin)


def mlcd(positive: Tensor, negative: Tensor, scale: float, margin: float) -> Tensor:
    """Return the loss of multi-label cluster discrimination. Without a margin it is ZLPR (arXiv 2208.02955)."""
    return _log1p_sum(-scale * with_margin(positive, margin)) + _log1p_sum(scale * negative)


def mlc(positive: Tensor, negative: Tensor, scale: float, margin: float) -> Tensor:
    """Return the loss of multi-label classification. With one positive it is softmax cross-entropy."""
    pulled = torch.logsumexp(-scale * with_margin(positive, margin), dim=1)
    return softplus(pulled + torch.logsumexp(scale * negative, dim=1))


def _log1p_sum(exponents: Tensor) -> Tensor:
    """Return log(1 + Σ_j e^{x_j}) for each row."""
    return torch.logsumexp(pad(exponents, (0, 1)), dim=1)


def own_centres(loss: str, nearest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positives (n, p) of each row among its nearest centres (n, l), nearest first."""
    return nearest[:, :1] if loss in ONE_POSITIVE else nearest


def draw(clusters: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw numbers of `count` different centres, (count,), on the CPU."""
    return torch.randperm(clusters, generator=generator)[:count]


def cosines(E: Tensor, W: Tensor, own: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosines of each row with its positives (n, p), and with its negatives (n, q).

    Args:
        E, W: rows (n, D) and centres (k, D), of length one.
        own: numbers of each row's positives, (n, p); `NONE` in place of one gets ∞.
        drawn: numbers of the centres drawn as negatives, (q,). A row's positives among them get −∞.
    """
    positive = (W[own] * E[:, None]).sum(dim=2).masked_fill(own == NONE, math.inf)
    numbers = torch.arange(len(drawn), device=W.device)
    column = torch.full((len(W) + 1,), len(drawn), device=W.device).scatter(0, drawn, numbers)  # the last is for `NONE`
    # The extra column takes the positives that were not drawn; it is then cut off.
    negative = pad(E @ W[drawn].T, (0, 1)).scatter(1, column[own], -math.inf)[:, :-1]
    return positive, negative
