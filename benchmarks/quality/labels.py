"""Labels for paper 3 (arXiv 2406.14830): how many draws there are, and how many labels each leaves unseen.

The labels of emoji_2vendors are the keywords with at least ten images; a fifth of them is unseen. Its test split is by
code point, so no symbol is in both splits. coco18_share has 18 labels; five are unseen. Each task has five draws.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEAST_IMAGES = 10
DRAWS = (0, 1, 2, 3, 4)
UNSEEN = {"emoji_2vendors": 0.2, "coco18_share": 5}
"""Labels held out of training: their share, or their number."""


def indicator(labels: Sequence[Sequence[str]], names: Sequence[str]) -> NDArray[np.bool_]:
    """Return a mask (n, m) that is true if a row has a label, for the labels `names` (m,); others are left out."""
    places = {name: place for place, name in enumerate(names)}
    table = np.zeros((len(labels), len(names)), np.bool_)
    for row, own in enumerate(labels):
        table[row, [places[label] for label in own if label in places]] = True
    return table
