"""Paper 3 (arXiv 2406.14830): labels that no training row had. The data side: which labels are seen, which are not.

emoji_2vendors: keywords with at least ten pictures; a fifth of them is unseen; its test split is by code point, so no
symbol is in both splits. coco18_share: 18 labels, of which five are unseen. Five draws of the labels each.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_PICTURES = 10
DRAWS = (0, 1, 2, 3, 4)
UNSEEN = {"emoji_2vendors": 0.2, "coco18_share": 5}
"""Labels held out of training: a share of them, or how many."""


@dataclass(frozen=True, slots=True)
class LabelDraw:
    """Labels that training may use, and labels that it never sees; both sorted."""

    seen: tuple[str, ...]
    unseen: tuple[str, ...]


def frequent(labels: Sequence[Sequence[str]], least: int = LEAST_PICTURES) -> tuple[str, ...]:
    """The labels that at least so many rows have, sorted; one that a row names twice counts once."""
    counts = Counter(label for row in labels for label in set(row))
    return tuple(sorted(label for label, count in counts.items() if count >= least))


def draws(names: Sequence[str], unseen: float, seeds: Sequence[int] = DRAWS) -> Iterator[LabelDraw]:
    """The labels dealt into seen and unseen, once a seed.

    Args:
        unseen: how many labels (a whole number), or the share of them (in 0…1), to hold out.
    """
    ordered = sorted(names)
    count = unseen if isinstance(unseen, int) else round(unseen * len(ordered))
    if not 0 < count < len(ordered):
        raise ValueError(f"of {len(ordered)} labels {count} cannot be unseen; leave at least one on each side")
    for seed in seeds:
        held = set(np.random.default_rng(seed).permutation(len(ordered))[:count].tolist())
        yield LabelDraw(
            tuple(name for place, name in enumerate(ordered) if place not in held),
            tuple(name for place, name in enumerate(ordered) if place in held),
        )


def indicator(labels: Sequence[Sequence[str]], names: Sequence[str]) -> NDArray[np.bool_]:
    """Which rows (n) have which of `names` (m), (n, m); other labels are left out."""
    places = {name: place for place, name in enumerate(names)}
    table = np.zeros((len(labels), len(names)), np.bool_)
    for row, own in enumerate(labels):
        table[row, [places[label] for label in own if label in places]] = True
    return table
