"""Labels for paper 3 (arXiv 2406.14830): the labels that training uses, and the labels that it never sees.

The labels of emoji_2vendors are the keywords with at least ten images; a fifth of them is unseen. Its test split is by
code point, so no symbol is in both splits. coco18_share has 18 labels; five are unseen. Each task has five draws.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_IMAGES = 10
DRAWS = (0, 1, 2, 3, 4)
UNSEEN = {"emoji_2vendors": 0.2, "coco18_share": 5}
"""Labels held out of training: their share, or their number."""


@dataclass(frozen=True, slots=True)
class LabelDraw:
    """The labels that training uses, and those that it never sees; both sorted."""

    seen: tuple[str, ...]
    unseen: tuple[str, ...]


def frequent(labels: Sequence[Sequence[str]], least: int = LEAST_IMAGES) -> tuple[str, ...]:
    """Return the labels of at least `least` rows, sorted. A label that a row names twice counts once."""
    counts = Counter(label for row in labels for label in set(row))
    return tuple(sorted(label for label, count in counts.items() if count >= least))


def draws(names: Sequence[str], unseen: float, seeds: Sequence[int] = DRAWS) -> Iterator[LabelDraw]:
    """Yield random divisions of the labels into seen and unseen labels, one for each seed.

    Args:
        unseen: number of labels to hold out (a whole number), or their share (in 0…1).
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
    """Return a mask (n, m) that is true if a row has a label, for the labels `names` (m,); others are left out."""
    places = {name: place for place, name in enumerate(names)}
    table = np.zeros((len(labels), len(names)), np.bool_)
    for row, own in enumerate(labels):
        table[row, [places[label] for label in own if label in places]] = True
    return table
