"""ESC-50: 2,000 environmental sounds in five folds.

Layout: https://github.com/karolpiczak/ESC-50 (`meta/esc50.csv`, `audio/*.wav`). Clips of one recording are in one fold.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from services.jobs.datasets.dataset import Dataset, first
from services.jobs.datasets.listed import Listed
from services.jobs.datasets.texts import table
from store.errors import BadSource
from store.items import Item

SPLITS = {"1": "train", "2": "train", "3": "train", "4": "val", "5": "test"}
"""Split of each fold."""


class Esc50(Dataset):
    """ESC-50 with its categories as classes. Each fold is a group, so that no recording is in two folds of training."""

    understood = "ESC-50: 50 classes; folds 1 to 3 are train, fold 4 is val, fold 5 is test; each fold is a group"

    @classmethod
    def sign(cls, root: Path) -> Path | None:
        return first(root, "meta/esc50.csv", "*/meta/esc50.csv")

    def items(self) -> Iterator[Item]:
        path = self.sign(self.root)
        if path is None:
            raise BadSource(f"{self.root} has no meta/esc50.csv any more")
        sounds = Listed(self)
        for name, fold, category in table(self, path, ["filename", "fold", "category"]):
            if fold not in SPLITS or not category:
                self.count("rows_damaged", f"{path}: {name} is in fold {fold!r} with the category {category!r}")
            elif item := sounds.take(name, [category], SPLITS[fold]):
                yield replace(item, group=f"fold {fold}")
        sounds.close()
