"""Cluster discrimination: losses that pull rows to their centres and push them from the others (MLCD, 2407.17331).

All take cosines and give one loss a row. With s_i = s cos(θ_i + m) of a row's positives and s_j = s cos θ_j of the
negatives that were drawn for it:

    mlcd     log(1 + Σ_i e^{−s_i}) + log(1 + Σ_j e^{s_j})                   eq. 6: both against the cosine 0
    mlc      log(1 + Σ_j e^{s_j} Σ_i e^{−s_i})                              eq. 3: each positive against each negative
    single   mlc with the nearest centre as the only positive               eq. 1, the softmax of ArcFace
    unicom   single, on half of the dimensions, drawn anew at every step    UNICOM, arXiv 2304.05884

The factors of mlcd are those of log(1 + Σ_j e^{s_j} Σ_i e^{−s_i} + Σ_j e^{s_j} + Σ_i e^{−s_i}). The scale s is not in
the paper. UNICOM's code draws a number of dimensions that the user gives; half of them is our choice.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

LEAST_NEGATIVES = 1000
"""Drawing a tenth of the centres is for the millions of the paper. Of fewer, at least so many are taken."""

_EDGE = 1 - 1e-6
"""Cosines are kept this far from ±1, where the slope of the angle is infinite."""


def with_margin(cosines: Tensor, margin: float) -> Tensor:
    """cos(θ + m), as ArcFace has it. Past θ = π − m, where that would rise again, it goes on with slope 1."""
    safe = cosines.clamp(-_EDGE, _EDGE)
    turned = safe * math.cos(margin) - (1 - safe * safe).sqrt() * math.sin(margin)
    return torch.where(safe > -math.cos(margin), turned, safe + math.cos(margin) - 1)


def losses(loss: str, positive: Tensor, negative: Tensor, scale: float, margin: float) -> Tensor:
    """The loss of each row, (n,), of cosines with positives (n, p) and negatives (n, q); −inf is no negative."""
    return (mlcd if loss == "mlcd" else mlc)(positive, negative, scale, margin)


def mlcd(positive: Tensor, negative: Tensor, scale: float, margin: float) -> Tensor:
    """Multi-label cluster discrimination; without a margin it is ZLPR (arXiv 2208.02955)."""
    return _log1p_sum(-scale * with_margin(positive, margin)) + _log1p_sum(scale * negative)


def mlc(positive: Tensor, negative: Tensor, scale: float, margin: float) -> Tensor:
    """Multi-label classification; with one positive it is softmax cross-entropy."""
    pulled = torch.logsumexp(-scale * with_margin(positive, margin), dim=1)
    return softplus(pulled + torch.logsumexp(scale * negative, dim=1))


def _log1p_sum(exponents: Tensor) -> Tensor:
    """log(1 + Σ_j e^{x_j}) of each row."""
    return torch.logsumexp(pad(exponents, (0, 1)), dim=1)


def own_centres(loss: str, nearest: Tensor) -> Tensor:
    """The positives of a loss (n, p) among the nearest centres (n, l), nearest first. All others may be negatives."""
    return nearest[:, :1] if loss in ("single", "unicom") else nearest


def how_many_negatives(clusters: int, ratio: float) -> int:
    """How many centres a step draws of `clusters`: the share `ratio`, at least `LEAST_NEGATIVES`, at most all."""
    return min(clusters, max(LEAST_NEGATIVES, math.ceil(ratio * clusters)))


def draw(clusters: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` different centres of `clusters`, (count,)."""
    return torch.randperm(clusters, generator=generator)[:count]


def cosines(E: Tensor, W: Tensor, own: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines with a row's own centres and with the others of those that were drawn: (n, p), (n, q).

    Args:
        E, W: rows (n, D) and centres (k, D), of length one.
        own: each row's positives, (n, p).
        drawn: candidates for negatives, (q,). A row's own among them count as −inf: they are never its negatives.
    """
    positive = (W[own] * E[:, None]).sum(dim=2)
    column = torch.full((len(W),), len(drawn)).scatter(0, drawn, torch.arange(len(drawn)))
    # One column more, for the positives that were not drawn; it is cut off again.
    negative = pad(E @ W[drawn].T, (0, 1)).scatter(1, column[own], -math.inf)[:, :-1]
    return positive, negative
