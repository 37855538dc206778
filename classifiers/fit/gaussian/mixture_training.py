"""Gradient descent for mixture heads: two networks, and one training loop that cannot make the loss worse.

Everything is float64, on a card too. Losses are compared after every pass, and in float32 the rounding of the expanded
squares would decide some of these comparisons.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classifiers.errors import NotTrainable
from classifiers.fit.device import on_device
from classifiers.fit.resident import Rows
from classifiers.heads.gaussian.mixture import Model
from classifiers.heads.gaussian.quadratic import Quadratic

LEAST_VARIANCE = 1e-6
"""Added to exp(log v). This floor of the variance keeps a gradient; a clamp would not."""
BATCH_ROWS = 4096
HELD_OUT, LEAST_HELD_OUT = 0.1, 20
PATIENCE = 30
MOST_HALVINGS = 40
"""Least share of the first learning rate. Smaller rates change nothing, so training ends with the best parameters."""
Given = Rows | Tensor
"""Rows on the host or on a device."""
Start = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


class SphericalMixture(nn.Module):
    """DGMMC-S, arXiv 2410.13421: log π_k + log Σ_g ω_kg N(z; μ_kg, v_kg I) with v = 1e-6 + exp(u), u learned."""

    unused: Tensor

    def __init__(self, start: Start, priors: NDArray[np.float64]) -> None:
        super().__init__()
        means, variances, weights = (torch.from_numpy(each) for each in start)
        self.means = nn.Parameter(means)
        self.log_variances = nn.Parameter((variances - LEAST_VARIANCE).clamp(min=LEAST_VARIANCE).log())
        self.mixing = nn.Parameter(weights.clamp(min=1e-12).log())
        self.priors = nn.Parameter(torch.from_numpy(priors).clamp(min=1e-12).log())
        unused = torch.where(weights > 0, 0.0, -torch.inf).to(means.dtype)
        self.register_buffer("unused", unused, persistent=False)

    def terms(self) -> tuple[Tensor, Tensor]:
        """Return the constants (K, G) and precisions (K, G) of the components."""
        precisions = 1.0 / (LEAST_VARIANCE + self.log_variances.exp())
        log_weights = (self.mixing + self.unused).log_softmax(dim=1) + self.priors.log_softmax(dim=0)[:, None]
        constants = log_weights + 0.5 * self.means.shape[2] * (precisions.log() - np.log(2 * np.pi))
        return constants, precisions

    def forward(self, Z: Tensor) -> Tensor:
        """Return component scores (n, K, G). The square is expanded, so that one matrix product is enough."""
        K, G, dim = self.means.shape
        constants, precisions = self.terms()
        cross = (Z @ self.means.reshape(K * G, dim).T).reshape(-1, K, G)
        square = (Z * Z).sum(dim=1)[:, None, None] - 2.0 * cross + (self.means**2).sum(dim=2)
        return constants - 0.5 * precisions * square

    def quadratic(self) -> Quadratic:
        constants, precisions = (each.detach().cpu().numpy() for each in self.terms())
        means = self.means.detach().cpu().numpy().reshape(constants.size, -1)
        return Quadratic.of_precisions(constants.ravel(), means, precisions.reshape(-1, 1), None)


class Softmax(nn.Module):
    """SDGM (Hayashi and Uchida, ICLR 2021): s = w · φ(z) + b, φ(z) = [z, z²] or z with the upper triangle of z zᵀ."""

    def __init__(self, shape: tuple[int, int, int], whole: bool, generator: torch.Generator) -> None:
        super().__init__()
        K, G, dim = shape
        self.shape, self.whole = shape, whole

        def drawn(*size: int) -> nn.Parameter:
            return nn.Parameter(0.02 / dim**0.5 * torch.randn(*size, generator=generator, dtype=torch.float64))

        self.linear, self.bias = drawn(K * G, dim), nn.Parameter(torch.zeros(K * G, dtype=torch.float64))
        self.square = drawn(K * G, dim, dim) if whole else drawn(K * G, dim)

    def symmetric(self) -> Tensor:
        """Return the weights of z_i z_j, i ≤ j, as symmetric matrices (C, d, d)."""
        upper = self.square.triu()
        return 0.5 * (upper + upper.transpose(1, 2))

    def forward(self, Z: Tensor) -> Tensor:
        scores = Z @ self.linear.T + self.bias
        if self.whole:
            C, dim = self.linear.shape
            turned = (Z @ self.symmetric().to(Z.dtype).permute(1, 0, 2).reshape(dim, C * dim)).reshape(-1, C, dim)
            scores = scores + (turned * Z[:, None, :]).sum(dim=2)
        else:
            scores = scores + (Z * Z) @ self.square.T
        return scores.reshape(len(Z), *self.shape[:2])

    def quadratic(self) -> Quadratic:
        """Return the scores as a `Quadratic`.

        A full matrix S becomes its least eigenvalue on the diagonal, plus directions F with S = least + ½ FᵀF.
        """
        W, b = self.linear.detach().cpu().numpy(), self.bias.detach().cpu().numpy()
        if not self.whole:
            return Quadratic(b, W, self.square.detach().cpu().numpy())
        values, vectors = np.linalg.eigh(self.symmetric().detach().cpu().numpy())
        least = values[:, :1]
        F = np.sqrt(2.0 * (values - least))[:, :, None] * vectors.transpose(0, 2, 1)
        return Quadratic(b, W, least, F, np.zeros(F.shape[:2]))


def train(
    Z: NDArray[Any],
    codes: NDArray[np.intp],
    n_classes: int,
    components: int,
    *,
    model: Model,
    start: Start | None,
    steps: int,
    rate: float,
    seed: int,
) -> tuple[Quadratic, int]:
    """Train a mixture; return its component scores in float64 and the number of steps taken.

    A tenth of the rows is held out first to choose the number of steps with the least loss; then all rows are trained
    for that many. With fewer than 200 rows none are held out, and all `steps` are taken. The training loss of the
    result is at most that of the start. Training runs on a CUDA card if there is one and the work is worth it, see
    `classifiers.fit.device`.

    Args:
        Z: rows (n, d), centred, with a pooled variance of 1 within classes; `codes` (n,) their classes.
        start: means, variances and weights for DGMMC-S; None for the random start of SDGM.

    Raises NotTrainable when the loss of the start is not finite.
    """
    cells = n_classes * components * Z.shape[1] ** (2 if model == "sdgm-f" else 1)
    # Two descents, each with the gradient and the loss of as many rows at every step.
    operations = 16.0 * steps * min(len(Z), BATCH_ROWS) * cells
    rows, truth = Z.astype(np.float64), codes.astype(np.int64)

    def fresh() -> SphericalMixture | Softmax:
        if start is not None:
            return SphericalMixture(start, np.bincount(codes, minlength=n_classes) / len(codes))
        generator = torch.Generator().manual_seed(seed)
        return Softmax((n_classes, components, Z.shape[1]), model == "sdgm-f", generator)

    return on_device(
        lambda device: train_on(
            torch.device(device), fresh, rows, truth, steps, rate, seed, start_counts=start is not None
        ),
        operations,
    )


def train_on(
    device: torch.device,
    fresh: Callable[[], "SphericalMixture | Softmax"],
    rows: NDArray[np.float64],
    truth: NDArray[np.int64],
    steps: int,
    rate: float,
    seed: int,
    *,
    start_counts: bool,
) -> tuple[Quadratic, int]:
    """Return what `train` does, computed on the device. `fresh` makes the network of the start."""

    def given(some: NDArray[np.int64] | slice) -> tuple[Rows, Rows]:
        return Rows(rows[some], device), Rows(truth[some], device)

    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).numpy()
    held = int(HELD_OUT * len(rows))
    if steps and held >= LEAST_HELD_OUT:
        judge = Judge(*given(order[:held]), start_counts=start_counts)
        descend(fresh().to(device), *given(order[held:]), steps, rate, seed, judge)
        steps = judge.best
    network = fresh().to(device)
    descend(network, *given(slice(None)), steps, rate, seed)
    return network.quadratic(), steps


class Judge:
    """The search for the number of steps with the least loss on held-out rows X (m, d), y (m,).

    Args:
        start_counts: True if the start is a candidate too. A random start should not be one.
    """

    def __init__(self, X: Given, y: Given, *, start_counts: bool) -> None:
        self.rows, self.start_counts = (X, y), start_counts
        self.best, self.least = 0, math.inf

    def stop(self, network: nn.Module, step: int) -> bool:
        """Judge the network after `step` steps; True if the loss has not fallen for `PATIENCE` steps."""
        if step == 0 and not self.start_counts:
            return False
        now = total_loss(network, *self.rows)
        if now < self.least:
            self.best, self.least = step, now
        return step - self.best > PATIENCE


class Best:
    """The parameters with the least training loss so far, the start included.

    A loss that is not finite is never the least. Raises NotTrainable if the loss of the start is not finite.
    """

    def __init__(self, network: nn.Module, start: float) -> None:
        if not math.isfinite(start):
            raise NotTrainable(
                f"the loss is {start} before training: some values are too far from all others; scale the rows, or "
                "leave out those that differ"
            )
        self.network, self.start, self.least = network, start, math.inf
        self.offer(start)

    def offer(self, loss: float) -> None:
        """Keep the network's parameters if their loss is the least."""
        if loss < self.least:
            self.least, self.kept = loss, [each.detach().clone() for each in self.network.parameters()]

    @torch.no_grad()
    def restore(self) -> None:
        """Give the network the best parameters."""
        for parameter, kept in zip(self.network.parameters(), self.kept, strict=True):
            parameter.copy_(kept)


def descend(
    network: nn.Module, X: Given, y: Given, steps: int, rate: float, seed: int, judge: Judge | None = None
) -> None:
    """Lower the cross-entropy of rows X (n, d), y (n,) by AdamW; the network ends with the best parameters met.

    One step at a rate that is too high can change the quadratic scores so much that training never recovers. So the
    loss of all rows is measured after every pass over them. If it is above the start's, or not finite, that pass is
    undone: training continues from the best parameters, at half the rate and with fresh moments.
    """
    best, generator = Best(network, total_loss(network, X, y)), torch.Generator().manual_seed(seed)
    every, halvings, done = math.ceil(len(X) / BATCH_ROWS), 0, 0
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.0)
    stop = judge is not None and judge.stop(network, 0)
    while done < steps and halvings <= MOST_HALVINGS and not stop:
        count = min(every, steps - done)
        for step in range(done, done + count):
            rows = torch.randint(len(X), (BATCH_ROWS,), generator=generator).numpy() if every > 1 else slice(None)
            optimiser.param_groups[0]["lr"] = rate * 0.5**halvings * falling(step, steps)
            optimiser.zero_grad()
            loss(network, X[rows], y[rows]).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
        now = total_loss(network, X, y)
        if not now <= best.start:
            best.restore()
            halvings += 1
            optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.0)
            continue
        done += count
        best.offer(now)
        stop = judge is not None and judge.stop(network, done)
    best.restore()


def falling(step: int, steps: int) -> float:
    """Return the share of the learning rate at a step from 0: half a cosine from 1 down to 0.1."""
    return 0.1 + 0.45 * (1.0 + math.cos(math.pi * step / steps))


def loss(network: nn.Module, X: Tensor, y: Tensor) -> Tensor:
    """Return the mean negative log posterior of the true classes, in nats."""
    return nn.functional.cross_entropy(network(X).logsumexp(dim=2), y)


@torch.no_grad()
def total_loss(network: nn.Module, X: Given, y: Given) -> float:
    """Return the loss of any number of rows, without gradients, a batch at a time."""
    total = torch.zeros(())
    for first in range(0, len(X), BATCH_ROWS):
        truth = y[first : first + BATCH_ROWS]
        total = total + len(truth) * loss(network, X[first : first + BATCH_ROWS], truth)
    return total.item() / len(X)
