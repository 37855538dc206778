"""Spherical k-means on a CUDA card: the steps of faiss (`faiss.Clustering`) in torch.

The first centres, the number of iterations and what becomes of empty clusters are those of faiss, to its very random
numbers (the 32-bit Mersenne Twister). So both routes find the same centres up to rounding, on every device of torch.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from classifiers.fit.resident import Rows, free_bytes, moved

PIECE_VALUES = 1 << 28
"""Values of the rows that are on a card at a time, if it has no room for all: 1 GiB."""
CELLS = 1 << 24, 1 << 28
"""Least and greatest number of cosines on a device at a time: 64 MiB to 1 GiB. Fewer would leave a card idle."""
SPLIT = 1 / 1024
"""The two halves of a split cluster differ by this share of each value, as in faiss."""
SPLIT_SEED = 1234
"""Seed of the choice of the clusters that are split, as in faiss."""


class Points:
    """Rows (n, d) of length one on a device; all of them if it has room, else a piece at a time."""

    def __init__(self, Z: NDArray[np.float32], device: torch.device) -> None:
        self.rows, self.device = Rows(Z, device), device
        self.piece = len(Z) if self.rows.resident is not None else max(1, PIECE_VALUES // Z.shape[1])
        self.cells = min(max(CELLS[0], free_bytes(device) // 16), CELLS[1])

    def assigned(self, centres: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pieces of the rows (m, d), and the number of the nearest of the centres (k, d) for each row (m,)."""
        for first in range(0, len(self.rows), self.piece):
            piece = self.rows[slice(first, first + self.piece)]
            yield piece, torch.cat([products.argmax(dim=1) for products in self.products(piece, centres)])

    def products(self, piece: Tensor, centres: Tensor) -> Iterator[Tensor]:
        """Yield the inner products of some rows at a time of a piece (m, d) with the centres (k, d)."""
        step = max(1, self.cells // len(centres))
        for first in range(0, len(piece), step):
            yield piece[first : first + step] @ centres.T

    def codes(self, centres: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the number of the nearest of the centres (k, d) for each row, (n,)."""
        there = moved(torch.from_numpy(centres), self.device)
        return torch.cat([codes for _, codes in self.assigned(there)]).cpu().numpy()

    def nearest(self, centres: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return what `classifiers.clustering.clusters.nearest` does: numbers and inner products, (n, count)."""
        there = moved(torch.from_numpy(centres), self.device)
        found = [
            ranked(products, count)
            for first in range(0, len(self.rows), self.piece)
            for products in self.products(self.rows[slice(first, first + self.piece)], there)
        ]
        codes, values = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
        return codes, values


def ranked(products: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the numbers of the `count` greatest values of each row, greatest first, and these values, (m, count).

    Equal values are in the order of their numbers.
    """
    some = products.topk(count, dim=1).indices.sort(dim=1).values
    values, order = products.gather(1, some).sort(dim=1, descending=True, stable=True)
    return some.gather(1, order), values


def kmeans(
    Z: NDArray[np.float32],
    clusters: int,
    seed: int,
    on_iteration: Callable[[int, int], None],
    *,
    iterations: int,
    most_per_centre: int,
    device: torch.device,
) -> NDArray[np.float32]:
    """Return the centres (k, d), of length one, of rows Z (n, d) of length one.

    Args:
        most_per_centre: with more rows for each centre, so many are drawn.
    """
    if len(Z) == clusters:
        return Z.copy()
    if len(Z) > clusters * most_per_centre:
        Z = Z[permuted(len(Z), clusters * most_per_centre, seed)]
    points = Points(Z, device)
    centres = normalize(moved(torch.from_numpy(Z[permuted(len(Z), clusters, seed + 1)]), device), dim=1)
    for done in range(1, iterations + 1):
        centres = normalize(means(points, centres), dim=1)
        on_iteration(done, iterations)
    return centres.cpu().numpy()


def means(points: Points, centres: Tensor) -> Tensor:
    """Return the means of the rows that are nearest to each centre, (k, d). Empty clusters take half of another."""
    sums, sizes = torch.zeros_like(centres), torch.zeros(len(centres), dtype=torch.int64, device=centres.device)
    for piece, codes in points.assigned(centres):
        found, counted = summed(piece, codes, len(centres))
        sums += found
        sizes += counted
    result = sums / sizes.clamp(min=1)[:, None]
    for empty, full in splits(sizes.cpu().numpy(), len(points.rows)):
        split(result, empty, full)
    return result


def summed(rows: Tensor, codes: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Return the sums of rows (m, d) by their code, (k, d), and how many have each code, (k,).

    The rows of a code are added one after the other. Adding all at once, as `index_add` does on a card, would give
    other last bits in each run.
    """
    ordered, order = codes.sort(stable=True)
    edges = torch.searchsorted(ordered, torch.arange(clusters + 1, device=codes.device))
    return embedding_bag(order, rows, edges[:-1], mode="sum"), edges.diff()


def split(centres: Tensor, empty: int, full: int) -> None:
    """Put two points near the centre `full`, in place of it and of the centre `empty`."""
    signs = torch.ones_like(centres[full])
    signs[1::2] = -1
    centres[empty] = centres[full] * (1 + SPLIT * signs)
    centres[full] *= 1 - SPLIT * signs


def splits(sizes: NDArray[np.int64], rows: int) -> Iterator[tuple[int, int]]:
    """Yield each empty cluster and the cluster that it takes half of, drawn by size, for the `sizes` (k,) of `rows`.

    faiss goes round the clusters, beginning at the first for each empty one, and takes a cluster of h rows with
    probability (h - 1) / (n - k).
    """
    random, sizes = np.random.RandomState(SPLIT_SEED), sizes.astype(np.float32)
    drawn = np.empty(0, np.float32)
    for empty in np.flatnonzero(sizes == 0).tolist():
        chance = (sizes - 1) / np.float32(rows - len(sizes))
        while True:
            if len(drawn) < len(sizes):
                drawn = np.append(drawn, words(random, len(sizes)).astype(np.float32) / np.float32(2**32 - 1))
            hits = np.flatnonzero(drawn[: len(sizes)] < chance)
            drawn = drawn[hits[0] + 1 if len(hits) else len(sizes) :]
            if len(hits):
                break
        full = int(hits[0])
        sizes[empty] = sizes[full] / 2
        sizes[full] -= sizes[empty]
        yield empty, full


def permuted(n: int, count: int, seed: int) -> NDArray[np.int64]:
    """Return the first `count` of the numbers below n in the random order of `faiss.rand_perm`."""
    steps = np.arange(min(count, n - 1))
    others = steps + words(np.random.RandomState(seed % 2**32), len(steps)) % (n - steps)
    order = list(range(n))
    for step, other in enumerate(others.tolist()):
        order[step], order[other] = order[other], order[step]
    return np.array(order[:count])


def words(random: np.random.RandomState, count: int) -> NDArray[np.int64]:
    """Return the next numbers of a 32-bit Mersenne Twister, below 2³², (count,)."""
    return random.randint(0, 2**32, size=count, dtype=np.uint32).astype(np.int64)
