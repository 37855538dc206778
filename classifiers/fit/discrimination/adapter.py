"""Learning an adapter from pseudo-labels: a map g(z) and centres W, by cluster discrimination (MLCD).

This is the offline part of the paper (arXiv 2407.17331): the encoder is frozen, and training reads its stored vectors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import batch_norm, normalize, relu

from classifiers.errors import NotTrainable
from classifiers.fit.descent import require_finite
from classifiers.fit.device import on_device
from classifiers.fit.discrimination.losses import cosines, draw, losses, own_centres
from classifiers.fit.discrimination.recipe import Recipe
from classifiers.fit.resident import CPU, Rows, moved
from classifiers.heads.transform import unit_rows

STEPS_AN_EPOCH = 8
"""Least number of steps in an epoch, if each step still has `LEAST_BATCH` rows. A small data set would hardly learn in
steps of 4,096 rows."""
LEAST_BATCH = 256
_BN_EPS = 1e-5
_BN_MOMENTUM = 0.1
_PCA_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Epoch:
    """Means over one epoch: the loss, and the cosines of rows with positive and negative centres (paper, Fig. 3)."""

    loss: float
    positive: float
    negative: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A learned adapter.

    Attributes:
        arrays: weight (D, d), and with a hidden layer hidden_weight (H, d), hidden_bias (H,), hidden_out (D, H);
            float32, batch normalisation folded in. g(z) = unit(A z [+ V relu(U z + c)]).
        curve: one entry for each epoch.
    """

    arrays: dict[str, NDArray[np.float32]]
    curve: tuple[Epoch, ...]

    def __call__(self, Z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return g(z) of unit rows Z (n, d), (n, D)."""
        out = Z @ self.arrays["weight"].T
        if "hidden_out" in self.arrays:
            inner = Z @ self.arrays["hidden_weight"].T + self.arrays["hidden_bias"]
            out += np.maximum(inner, 0) @ self.arrays["hidden_out"].T
        return np.asarray(unit_rows(out))


def fit_adapter(
    Z: NDArray[np.float32],
    centres: NDArray[np.float32],
    nearest: NDArray[np.int64],
    recipe: Recipe,
    on_epoch: Callable[[int, Epoch], None] = lambda *_: None,
) -> Fitted:
    """Learn g from unit rows Z.

    At the start g projects onto the first `dim` principal axes of Z, and W is the projected centres. The same
    arguments give the same adapter on the same machine. Training runs on a CUDA card if there is one and the work is
    worth it, see `classifiers.fit.device`.

    Args:
        Z: rows (n, d) of length one.
        centres: (k, d), of length one.
        nearest: numbers of each row's nearest centres, nearest first, (n, l); `losses.NONE` after the last one of a
            row that has fewer than l.
        recipe: how to train.
        on_epoch: called after each epoch with its number, from 1, and its means.

    Raises NotTrainable: l ≥ k leaves no negative centre, or the loss is not finite.
    """
    if nearest.shape[1] >= len(centres):
        raise NotTrainable(
            f"{nearest.shape[1]} positives per row leave no negative among {len(centres)} clusters; ask for more "
            "clusters or for fewer nearest ones"
        )
    compared = nearest.shape[1] + recipe.drawn(len(centres))
    operations = 6.0 * len(Z) * recipe.epochs * recipe.dim * (Z.shape[1] + compared)
    return on_device(lambda device: _fit_on(torch.device(device), Z, centres, nearest, recipe, on_epoch), operations)


def _fit_on(
    device: torch.device,
    Z: NDArray[np.float32],
    centres: NDArray[np.float32],
    nearest: NDArray[np.int64],
    recipe: Recipe,
    on_epoch: Callable[[int, Epoch], None],
) -> Fitted:
    """Return what `fit_adapter` does, computed on the device."""
    generator = torch.Generator().manual_seed(recipe.seed)
    model = _Model(Z, centres, recipe, generator, device)
    rows, own = Rows(Z, device), Rows(own_centres(recipe.loss, nearest), device)
    batch = min(recipe.batch, max(LEAST_BATCH, len(Z) // STEPS_AN_EPOCH))
    batches = max(1, round(len(Z) / batch))
    descent = _Descent(model.groups(recipe), recipe.epochs * batches)
    curve = []
    for number in range(1, recipe.epochs + 1):
        parts = [part.numpy() for part in torch.randperm(len(Z), generator=generator).tensor_split(batches)]
        steps = torch.stack([_step(model, descent, rows[some], own[some], recipe, generator) for some in parts])
        require_finite(steps[-1:, 0], number)
        curve.append(Epoch(*steps.double().cpu().numpy().mean(axis=0).tolist()))
        on_epoch(number, curve[-1])
    return Fitted(model.arrays(), tuple(curve))


def _step(
    model: "_Model", descent: "_Descent", Z: Tensor, own: Tensor, recipe: Recipe, generator: torch.Generator
) -> Tensor:
    """Take one step; return the loss, mean positive cosine and mean negative cosine before it, (3,)."""
    E, W = model(Z), model.W
    if recipe.loss == "unicom":
        some = moved(draw(W.shape[1], max(1, W.shape[1] // 2), generator), W.device)
        E, W = E[:, some], W[:, some]
    drawn = moved(draw(len(W), recipe.drawn(len(W)), generator), W.device)
    positive, negative = cosines(normalize(E), normalize(W), own, drawn)
    loss = losses(recipe.loss, positive, negative, recipe.scale, recipe.margin).mean()
    descent.step(loss)
    return torch.stack([loss.detach(), _finite_mean(positive.detach()), _finite_mean(negative.detach())])


def _finite_mean(x: Tensor) -> Tensor:
    """Return the mean of the finite values of x. On a card, choosing them by a mask would wait for its work."""
    finite = x.isfinite()
    return torch.where(finite, x, 0.0).sum() / finite.sum() if x.is_cuda else x[finite].mean()


class _Model:
    """g and W as tensors. A torch module would draw its first weights from the global random generator.

    g has no offset. With one, all rows could share a direction and all centres the opposite one: that satisfies every
    negative of the MLCD loss, which compares with cosine 0, and separates no rows.
    """

    def __init__(
        self,
        Z: NDArray[np.float32],
        centres: NDArray[np.float32],
        recipe: Recipe,
        generator: torch.Generator,
        device: torch.device = CPU,
    ) -> None:
        axes = principal_axes(Z, recipe.dim)
        dim, width = axes.shape
        self.A = _parameter(torch.from_numpy(axes), device)
        self.W = _parameter(torch.from_numpy(unit_rows(centres @ axes.T)), device)
        hidden: dict[str, Tensor] = {}
        if recipe.hidden:
            hidden = {
                "U": torch.randn(recipe.hidden, width, generator=generator),
                "gain": torch.ones(recipe.hidden),
                "shift": torch.zeros(recipe.hidden),
                "V": torch.zeros(dim, recipe.hidden),  # the hidden layer adds nothing at the start
            }
        self.hidden = {name: _parameter(tensor, device) for name, tensor in hidden.items()}
        self.mean = torch.zeros(recipe.hidden, device=device)
        self.variance = torch.ones(recipe.hidden, device=device)

    def __call__(self, Z: Tensor) -> Tensor:
        """Return g before the unit norm, (n, D). Batch normalisation uses the statistics of the batch."""
        out = Z @ self.A.T
        if h := self.hidden:
            inner = batch_norm(
                Z @ h["U"].T, self.mean, self.variance, h["gain"], h["shift"], True, _BN_MOMENTUM, _BN_EPS
            )
            out = out + relu(inner) @ h["V"].T
        return out

    def groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups. Matrices have weight decay; gains and shifts have none."""
        decaying = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
        found = [{"params": [self.A], **decaying}, {"params": [self.W], **decaying}]
        found[1]["lr"] = recipe.learning_rate * recipe.centre_rate
        if h := self.hidden:
            found.append({"params": [h["U"], h["V"]], **decaying})
            found.append({"params": [h["gain"], h["shift"]], **decaying, "weight_decay": 0.0})
        return found

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the arrays for serving, with batch normalisation folded into the layer before it."""
        found = {"weight": self.A}
        if h := self.hidden:
            gain = h["gain"] / (self.variance + _BN_EPS).sqrt()
            found |= {
                "hidden_weight": h["U"] * gain[:, None],
                "hidden_bias": h["shift"] - gain * self.mean,
                "hidden_out": h["V"],
            }
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in found.items()}


class _Descent:
    """AdamW with learning rates that fall from their peak to zero along a cosine."""

    def __init__(self, groups: list[dict[str, Any]], steps: int) -> None:
        self.optimiser = torch.optim.AdamW(groups)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, steps)

    def step(self, loss: Tensor) -> None:
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        self.optimiser.step()
        self.schedule.step()


def _parameter(start: Tensor, device: torch.device) -> Tensor:
    return moved(start, device).clone().requires_grad_(True)


def principal_axes(Z: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return the leading eigenvectors of ZᵀZ as orthonormal rows (min(count, d), d), for Z (n, d).

    Only the first 50,000 rows are used. `classifiers.clustering.unlabelled` sorts rows by id, which is a hash, so these
    rows are a random sample.
    """
    some = Z[:_PCA_ROWS]
    gram = (some.T @ some).astype(np.float64)  # float32, because a float64 copy of the rows would take half a gigabyte
    _, vectors = np.linalg.eigh(gram)
    axes = vectors[:, ::-1][:, :count].T
    # The sign of an axis is arbitrary and differs between machines; the largest entry is made positive.
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return np.ascontiguousarray(axes * np.sign(largest), np.float32)
