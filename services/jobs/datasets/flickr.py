"""Flickr8k and Flickr30k: images with five captions each.

Layout: Flickr8k has `Flickr8k.token.txt` (``name.jpg#0<tab>caption``) and `Flickr_8k.{train,dev,test}Images.txt`;
Flickr30k has `results_20130124.token` of the same form. Their copies at Kaggle have `captions.txt` (``image,caption``)
and `results.csv` (``image_name| comment_number| comment``). See https://shannon.cs.illinois.edu/DenotationGraph/ and
torchvision.datasets.Flickr30k. If the splits by Karpathy and Fei-Fei are there, their file is read instead.
"""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from services.jobs.datasets import karpathy
from services.jobs.datasets.dataset import Dataset, first
from services.jobs.datasets.listed import Listed, stem_of
from services.jobs.datasets.texts import captions, lines
from store.errors import BadSource
from store.items import Item

_KARPATHY = ("dataset_flickr8k.json", "dataset_flickr30k.json")
_SPLITS = {"train": "train", "dev": "val", "test": "test"}


def _token(line: str) -> tuple[str, str]:
    name, _, caption = line.partition("\t")
    return name.rpartition("#")[0], caption


def _piped(line: str) -> tuple[str, str]:
    name, number, caption = line.split("|", 2)
    return name if number.strip().isdigit() else "", caption


def _comma(line: str) -> tuple[str, str]:
    name, *caption = next(csv.reader([line]))
    return name, ",".join(caption)  # a caption without quotation marks may have commas


FORMS: dict[str, tuple[str, Callable[[str], tuple[str, str]]]] = {
    "results.csv": ("image_name|", _piped),
    "results_20130124.token": ("", _token),
    "Flickr8k.token.txt": ("", _token),
    "captions.txt": ("image,caption", _comma),
}
"""For each file of captions: how its first line begins, and how a line is divided into a name and a caption."""


class Flickr(Dataset):
    """Flickr8k or Flickr30k with its captions as labels."""

    understood = "captions of Flickr8k or Flickr30k; splits as the lists beside them say, or drawn if there are none"
    captions = True

    @classmethod
    def sign(cls, root: Path) -> Path | None:
        for name in (*_KARPATHY, *FORMS):
            path = first(root, name, f"*/{name}")
            if path is not None and _begins(path, FORMS.get(name, ("", None))[0]):
                return path
        return None

    def items(self) -> Iterator[Item]:
        path = self.sign(self.root)
        if path is None:
            raise BadSource(f"{self.root} has no captions of Flickr8k or Flickr30k any more")
        return karpathy.items(self, path) if path.name in _KARPATHY else self._lines(path)

    def _lines(self, path: Path) -> Iterator[Item]:
        images, splits = Listed(self), self._splits()
        for name, texts in self._captions(path).items():
            split = splits.get(stem_of(name))
            if item := images.take(name, captions(self, texts, f"{path}, {name}"), split):
                yield item
        images.close()

    def _captions(self, path: Path) -> dict[str, list[object]]:
        """Return {name of an image: its captions}, in the order of the file."""
        header, divided = FORMS[path.name]
        found: dict[str, list[object]] = {}
        for place, line in lines(path):
            if header and line.startswith(header):
                continue
            try:
                name, caption = divided(line)
            except (ValueError, csv.Error):
                name = caption = ""
            if name and caption.strip():
                found.setdefault(name, []).append(caption)
            else:
                self.count("rows_damaged", f"{place}: {line[:60]}")
        if not found:
            raise BadSource(f"{path} has no captions: it is damaged or another file")
        return found

    def _splits(self) -> dict[str, str]:
        """Return {stem of an image: split} from the lists of Flickr8k; {} if they are not there."""
        found = ((split, self._list(name)) for name, split in _SPLITS.items())
        return {stem_of(line): split for split, path in found if path for _, line in lines(path)}

    def _list(self, name: str) -> Path | None:
        return first(self.root, f"Flickr_8k.{name}Images.txt", f"*/Flickr_8k.{name}Images.txt")


def _begins(path: Path, start: str) -> bool:
    """Return True if a file begins with a text. `results.csv` and `captions.txt` are names of many other files."""
    try:
        return not start or next(iter(lines(path)))[1].startswith(start)
    except (BadSource, StopIteration):
        return False
