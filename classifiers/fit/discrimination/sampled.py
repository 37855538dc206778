"""A classifier over up to millions of centres, of which each step touches a sample (partial FC, arXiv 2203.15565).

A step compares the embeddings of a batch with their positives and with the negatives drawn for the step. Only these
centres get gradients, and only their rows of the optimiser's state change. Several processes each hold a slice of the
centres. Each computes its part of the two sums of the loss for all embeddings of the batch; the sums are then added up,
so the loss does not depend on the number of processes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad, softplus

from classifiers.fit.discrimination.losses import cosines, with_margin
from classifiers.fit.discrimination.ranks import Ranks

_NOTHING = -1e9
"""Exponent of nothing. It is finite, because the slope of log Σ exp is not a number if all exponents are −∞."""
_BETAS, _EPS = (0.9, 0.999), 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form of the loss: its name in `classifiers.fit.discrimination.losses`, scale s, and margin m in radians."""

    loss: str = "mlcd"
    scale: float = 32.0
    margin: float = 0.3

    def of(self, pulled: Tensor, pushed: Tensor) -> Tensor:
        """Return each row's loss (n,), from log Σ_i e^{−s_i} of its positives and log Σ_j e^{s_j} of its negatives."""
        return softplus(pulled) + softplus(pushed) if self.loss == "mlcd" else softplus(pulled + pushed)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of comparing a batch with its centres.

    Attributes:
        gradient: of the mean loss, with respect to the embeddings (n, D).
        means: mean loss, mean cosine with positives, and mean cosine with negatives, (3,).
    """

    gradient: Tensor
    means: Tensor


class SampledCentres:
    """Centres W and their AdamW, by rows.

    A row's moments and weight decay move only in steps that touch it. Rows touched in every step move as in
    `torch.optim.AdamW`.

    Attributes:
        weight, first, second: this process's rows of W and of their two moments, (k', D) float32.
        steps: number of steps that touched each row, (k',) float32.
    """

    TENSORS = ("weight", "first", "second", "steps")

    def __init__(self, weight: Tensor, total: int, ranks: Ranks, form: Form) -> None:
        """
        Args:
            weight: this process's share of all centres (see `Ranks.share`). It is changed in place.
            total: number of all centres.
        """
        self.weight, self.total, self.ranks, self.form = weight, total, ranks, form
        self.first, self.second = torch.zeros_like(weight), torch.zeros_like(weight)
        self.steps = torch.zeros(len(weight), device=weight.device)
        self._touched = torch.empty(0, dtype=torch.int64, device=weight.device)
        self._gradient = torch.empty(0, weight.shape[1], device=weight.device)

    def compare(self, E: Tensor, own: Tensor, drawn: Tensor, counted: Tensor) -> Comparison:
        """Compute loss and gradients of a batch. All processes call it with the same arguments.

        Args:
            E: embeddings of the whole batch, of length one, (n, D).
            own: numbers of each row's positives among all centres, (n, p).
            drawn: numbers of the centres drawn as negatives, (q,). A row's own positives among them do not count.
            counted: False for rows without an image, which count for nothing, (n,).
        """
        mine = self.ranks.share(self.total)
        here = (own >= mine.start) & (own < mine.stop)
        drawn = drawn[(drawn >= mine.start) & (drawn < mine.stop)] - mine.start
        self._touched = torch.unique(torch.cat([own[here] - mine.start, drawn]))
        E, W = E.detach().requires_grad_(), self.weight[self._touched].requires_grad_()
        with torch.enable_grad():
            means = self._means(E, W, torch.where(here, own - mine.start, -1), drawn, counted)
            (gradient, self._gradient) = torch.autograd.grad(means[0], (E, W))
        return Comparison(self.ranks.summed(gradient), means.detach())

    def _means(self, E: Tensor, W: Tensor, own: Tensor, drawn: Tensor, counted: Tensor) -> Tensor:
        """Return `Comparison.means`. `own` and `drawn` are numbers of rows of `weight`; −1 is a row held elsewhere."""
        missing = own < 0
        where = torch.searchsorted(self._touched, own.clamp(min=0)).masked_fill(missing, len(self._touched))
        # A last row of zeros stands for all positives that other processes hold.
        positive, negative = cosines(
            E, pad(normalize(W), (0, 0, 0, 1)), where, torch.searchsorted(self._touched, drawn)
        )
        turned = with_margin(positive, self.form.margin)
        pulled = self._total((-self.form.scale * turned).masked_fill(missing, _NOTHING))
        pushed = self._total(self.form.scale * negative)
        each = self.form.of(pulled, pushed)
        loss = (each * counted).sum() / counted.sum().clamp(min=1)
        return torch.stack(
            [loss, self._mean(positive, ~missing & counted[:, None]), self._mean(negative, counted[:, None])]
        )

    def _total(self, exponents: Tensor) -> Tensor:
        """Return log Σ exp over the exponents of all processes, (n,). Gradients flow to this process's own."""
        own = torch.logsumexp(pad(exponents, (0, 1), value=_NOTHING), dim=1)
        parts = self.ranks.gathered(own.detach())
        parts[self.ranks.rank] = own
        return torch.logsumexp(torch.stack(parts), dim=0)

    def _mean(self, x: Tensor, counted: Tensor) -> Tensor:
        """Return the mean of the finite values that count, over all processes."""
        use = x.detach().isfinite() & counted
        sums = torch.stack([torch.where(use, x.detach(), 0.0).sum(), use.sum().float()])
        sums = self.ranks.summed(sums)
        return sums[0] / sums[1].clamp(min=1)

    def update(self, rate: float, weight_decay: float) -> None:
        """Take a step of AdamW (arXiv 1711.05101) on the rows that the last comparison touched."""
        rows, g = self._touched, self._gradient
        steps = self.steps[rows] + 1
        first = self.first[rows].lerp(g, 1 - _BETAS[0])
        second = self.second[rows] * _BETAS[1] + (1 - _BETAS[1]) * g * g
        size = (second / (1 - _BETAS[1] ** steps)[:, None]).sqrt() + _EPS
        step = first / (1 - _BETAS[0] ** steps)[:, None] / size
        self.weight[rows] = self.weight[rows] * (1 - rate * weight_decay) - rate * step
        self.first[rows], self.second[rows], self.steps[rows] = first, second, steps
