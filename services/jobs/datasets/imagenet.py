"""ImageNet (ILSVRC 2012): training images in folders named by WordNet ids, validation images in one folder.

Layout: the development kit's readme (https://image-net.org/challenges/LSVRC/2012/), torchvision.datasets.ImageNet,
which moves the validation images into such folders too, and the copy at Kaggle (imagenet-object-localization-challenge)
with `LOC_synset_mapping.txt` and `LOC_val_solution.csv`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from services.jobs.annotations.class_names import distinct_names
from services.jobs.annotations.text import open_text
from services.jobs.datasets.dataset import Dataset, first
from services.jobs.datasets.listed import MEDIA
from services.jobs.datasets.texts import lines, table
from store.errors import BadSource
from store.items import Item

_WNID = re.compile(r"n\d{8}")
_META = ("meta.mat", "data/meta.mat", "*devkit*/data/meta.mat", "*/*devkit*/data/meta.mat")
_MAPPINGS = ("LOC_synset_mapping.txt", "synset_words.txt", "*/LOC_synset_mapping.txt", "*/synset_words.txt")
_IMAGES = (".", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "ILSVRC2012")
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"


class Synset(NamedTuple):
    """A class: its WordNet id, its words, separated by commas, and its number in the development kit.

    Other lists have the classes in another order, so only the kit's `meta.mat` gives numbers.
    """

    wnid: str
    words: str
    number: int | None = None


class ImageNet(Dataset):
    """ImageNet with the first words of its classes as labels. The published validation images are the test rows."""

    understood = (
        "ImageNet: the classes have the first of their words as names; train is train, val is test, because the labels "
        "of the published test images are secret"
    )

    @classmethod
    def sign(cls, root: Path) -> Path | None:
        named = first(root, *_META, *_MAPPINGS)
        return named if named and any(cls._folder(root, name) for name in ("train", "val")) else None

    @staticmethod
    def _folder(root: Path, name: str) -> Path | None:
        return next((path for inner in _IMAGES if (path := root / inner / name).is_dir()), None)

    def items(self) -> Iterator[Item]:
        path = self.sign(self.root)
        if path is None:
            raise BadSource(f"{self.root} has no names of classes and images of ImageNet any more")
        synsets = list((_read_meta if path.suffix == ".mat" else _read_mapping)(path))
        names = _names({each.wnid: each.words for each in synsets})
        for folder, split in (("train", "train"), ("val", "test")):
            found = self._folder(self.root, folder)
            if found is None:
                self.count("parts_missing", str(self.root / folder))
            else:
                yield from self._in_folders(found, split, names)
        if (val := self._folder(self.root, "val")) is not None:
            yield from self._numbered(val, names, path, synsets)

    def _in_folders(self, folder: Path, split: str, names: Mapping[str, str]) -> Iterator[Item]:
        """Yield the images in folders named by WordNet ids."""
        for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
            if inner.name in names:
                yield from (Item(str(path), labels=[names[inner.name]], split=split) for path in _images(inner))
            else:
                self.count("files_unlisted", str(inner), sum(1 for _ in _images(inner)))

    def _numbered(self, folder: Path, names: Mapping[str, str], meta: Path, synsets: list[Synset]) -> Iterator[Item]:
        """Yield the images of the flat validation folder, whose names end with their number in the ground truth."""
        images = {path.stem: path for path in _images(folder)}
        if not images:
            return
        unused = set(images)
        for stem, wnid in self._truth(meta, synsets):
            if wnid not in names:
                self.count("rows_damaged", f"{stem} has the class {wnid}")
            elif stem not in images:
                self.count("files_missing", f"{stem}.JPEG")
            else:
                unused.discard(stem)
                yield Item(str(images[stem]), labels=[names[wnid]], split="test")
        self.count("files_unlabelled", str(images[min(unused)]) if unused else "", len(unused))

    def _truth(self, meta: Path, synsets: list[Synset]) -> Iterable[tuple[str, str]]:
        """Return (stem of the file, WordNet id) of the validation images. A number without a class stays."""
        if path := first(self.root, "LOC_val_solution.csv", "*/LOC_val_solution.csv"):
            rows = table(self, path, ["ImageId", "PredictionString"])
            return ((image, boxes.split(" ")[0]) for image, boxes in rows)
        path = meta.parent / _TRUTH
        if not path.is_file() or any(each.number is None for each in synsets):
            self.count("parts_missing", f"{meta.parent}: LOC_val_solution.csv, or meta.mat with {_TRUTH}")
            return ()
        wnids = {str(each.number): each.wnid for each in synsets}
        with open_text(path) as text:
            codes = [line.strip() for line in text]
        return ((f"ILSVRC2012_val_{number:08}", wnids.get(code, code)) for number, code in enumerate(codes, 1))


def _images(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.suffix.lower() in MEDIA)


def _read_meta(path: Path) -> Iterator[Synset]:
    """Yield the classes of the development kit's `meta.mat`, without the groups of classes above them."""
    from scipy.io import loadmat

    try:
        for row in loadmat(path, squeeze_me=True)["synsets"].reshape(-1):
            if row["num_children"] == 0:
                yield Synset(str(row["WNID"]), str(row["words"]), int(row["ILSVRC2012_ID"]))
    except Exception as error:  # a damaged file makes SciPy raise almost anything
        raise BadSource(f"{path} is damaged, or not of ImageNet's development kit: {error}") from error


def _read_mapping(path: Path) -> Iterator[Synset]:
    """Yield the classes of a text file with a WordNet id and its words in each line."""
    for place, line in lines(path):
        wnid, _, words = line.partition(" ")
        if not _WNID.fullmatch(wnid) or not words.strip():
            raise BadSource(f"{place} has no WordNet id and words: {line[:80]!r}")
        yield Synset(wnid, words.strip())


def _names(words: Mapping[str, str]) -> dict[str, str]:
    """Return {WordNet id: label}: the first word of the class; all its words, or these and its id, if others share it.

    Args:
        words: {WordNet id: words, separated by commas}.
    """
    return distinct_names({wnid: text.split(",")[0].strip() for wnid, text in words.items()}, words)
