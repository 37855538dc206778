"""Gradient descent for mixture heads: the parametrisations, and one training loop for all."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classifiers.heads.gaussian.mixture import Model
from classifiers.heads.gaussian.quadratic import Quadratic

LEAST_VARIANCE = 1e-6
"""Added to exp(log v): a floor at which the gradient does not vanish, as that of a clamp would."""
BATCH_ROWS = 4096
HELD_OUT, LEAST_HELD_OUT = 0.1, 20
PATIENCE = 30
Start = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


class SphericalMixture(nn.Module):
    """DGMMC-S, arXiv 2410.13421: log π_k + log Σ_g ω_kg N(z; μ_kg, v_kg I) with v = 1e-6 + exp(u), u learned."""

    def __init__(self, start: Start, priors: NDArray[np.float64]) -> None:
        super().__init__()
        means, variances, weights = (torch.from_numpy(each) for each in start)
        self.means = nn.Parameter(means)
        self.log_variances = nn.Parameter((variances - LEAST_VARIANCE).clamp(min=LEAST_VARIANCE).log())
        self.mixing = nn.Parameter(weights.clamp(min=1e-12).log())
        self.priors = nn.Parameter(torch.from_numpy(priors).clamp(min=1e-12).log())
        self.unused = torch.where(weights > 0, 0.0, -torch.inf).to(means.dtype)

    def terms(self) -> tuple[Tensor, Tensor]:
        """(constants (K, G), precisions (K, G)) of the components."""
        precisions = 1.0 / (LEAST_VARIANCE + self.log_variances.exp())
        log_weights = (self.mixing + self.unused).log_softmax(dim=1) + self.priors.log_softmax(dim=0)[:, None]
        constants = log_weights + 0.5 * self.means.shape[2] * (precisions.log() - np.log(2 * np.pi))
        return constants, precisions

    def forward(self, Z: Tensor) -> Tensor:
        """Component scores (n, K, G); the expanded square is one product."""
        K, G, dim = self.means.shape
        constants, precisions = self.terms()
        cross = (Z @ self.means.reshape(K * G, dim).T).reshape(-1, K, G)
        square = (Z * Z).sum(dim=1)[:, None, None] - 2.0 * cross + (self.means**2).sum(dim=2)
        return constants - 0.5 * precisions * square

    def quadratic(self) -> Quadratic:
        constants, precisions = (each.detach().numpy() for each in self.terms())
        means = self.means.detach().numpy().reshape(constants.size, -1)
        return Quadratic.of_precisions(constants.ravel(), means, precisions.reshape(-1, 1), None)


class Softmax(nn.Module):
    """SDGM, Hayashi and Uchida, ICLR 2021: s = w · φ(z) + b, φ(z) = [z, z²] or z with the upper triangle of z zᵀ."""

    def __init__(self, shape: tuple[int, int, int], whole: bool, generator: torch.Generator) -> None:
        super().__init__()
        K, G, dim = shape
        self.shape, self.whole = shape, whole

        def drawn(*size: int) -> nn.Parameter:
            return nn.Parameter(0.02 / dim**0.5 * torch.randn(*size, generator=generator, dtype=torch.float64))

        self.linear, self.bias = drawn(K * G, dim), nn.Parameter(torch.zeros(K * G, dtype=torch.float64))
        self.square = drawn(K * G, dim, dim) if whole else drawn(K * G, dim)

    def symmetric(self) -> Tensor:
        """The weights of z_i z_j, i ≤ j, as symmetric matrices (C, d, d)."""
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
        """Of whole matrices S: their least eigenvalue on the diagonal, and what is above it as directions."""
        W, b = self.linear.detach().numpy(), self.bias.detach().numpy()
        if not self.whole:
            return Quadratic(b, W, self.square.detach().numpy())
        values, vectors = np.linalg.eigh(self.symmetric().detach().numpy())
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
    """The learned component scores, float64, and the steps taken: as many as did best on rows that were held out.

    With too few rows to hold any out all `steps` are taken.
    """
    X, y = torch.from_numpy(Z.astype(np.float64)), torch.from_numpy(codes.astype(np.int64))

    def fresh() -> SphericalMixture | Softmax:
        if start is not None:
            return SphericalMixture(start, np.bincount(codes, minlength=n_classes) / len(codes))
        generator = torch.Generator().manual_seed(seed)
        return Softmax((n_classes, components, X.shape[1]), model == "sdgm-f", generator)

    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))
    held = int(HELD_OUT * len(X))
    if steps and held >= LEAST_HELD_OUT:
        out, rest = order[:held], order[held:]
        steps = descend(fresh(), X[rest], y[rest], steps, rate, seed, (X[out], y[out]))
    network = fresh()
    descend(network, X, y, steps, rate, seed)
    return network.quadratic(), steps


def descend(
    network: nn.Module,
    X: Tensor,
    y: Tensor,
    steps: int,
    rate: float,
    seed: int,
    validation: tuple[Tensor, Tensor] | None = None,
) -> int:
    """AdamW on the cross-entropy; the number of steps (0…steps) with the least loss on `validation`, if given."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps), eta_min=rate / 10)
    generator = torch.Generator().manual_seed(seed)
    best, least = 0, loss(network, *validation).item() if validation else 0.0
    for step in range(1, steps + 1):
        rows = torch.randint(len(X), (BATCH_ROWS,), generator=generator) if len(X) > BATCH_ROWS else slice(None)
        optimiser.zero_grad()
        loss(network, X[rows], y[rows]).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        schedule.step()
        if validation:
            with torch.no_grad():
                now = loss(network, *validation).item()
            if now < least:
                best, least = step, now
            elif step - best > PATIENCE:
                break
    return best


def loss(network: nn.Module, X: Tensor, y: Tensor) -> Tensor:
    """Mean negative log posterior of the true classes."""
    return nn.functional.cross_entropy(network(X).logsumexp(dim=2), y)
