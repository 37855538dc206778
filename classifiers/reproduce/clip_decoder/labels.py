"""The labels that a head learns, and those that it never sees: random draws of them, or the two lists of a paper."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class LabelDraw:
    """The labels that training uses, and those that it never sees; both sorted, and `unseen` empty in a closed set."""

    seen: tuple[str, ...]
    unseen: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All labels, sorted."""
        return tuple(sorted((*self.seen, *self.unseen)))


def frequent(labels: Sequence[Sequence[str]], least: int) -> tuple[str, ...]:
    """Return the labels of at least `least` rows, sorted. A label that a row names twice counts once."""
    counts = Counter(label for row in labels for label in set(row))
    return tuple(sorted(label for label, count in counts.items() if count >= least))


def draws(names: Sequence[str], unseen: float, seeds: Sequence[int]) -> Iterator[LabelDraw]:
    """Yield random divisions of the labels into seen and unseen labels, one for each seed.

    Args:
        unseen: number of labels to hold out (a whole number), or their share (in 0…1).

    Raises ValueError if no label would be left on one side.
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
