"""NUS-WIDE: photos of Flickr with 81 concepts that people checked, and the 1,000 most frequent of their tags.

Layout: https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html. `Concepts81.txt`,
`ImageList/{Train,Test}Imagelist.txt` (``actor\\0001_2124494179.jpg``), `Groundtruth/TrainTestLabels/
Labels_<concept>_{Train,Test}.txt` (a 0 or 1 in each line), `NUS_WID_Tags/TagList1k.txt` and
`NUS_WID_Tags/{Train,Test}_Tags1k.dat` (1,000 numbers 0 or 1 in each line). The images were downloaded from Flickr, so
many of them are missing today.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path

from services.jobs.annotations.text import open_text
from services.jobs.datasets.dataset import Dataset, first
from services.jobs.datasets.listed import Listed
from services.jobs.datasets.texts import lines
from store.errors import BadSource
from store.items import Item

PARTS = {"Train": "train", "Test": "test"}
"""Split for each half of the lists."""

Marks = Iterator[list[str]]
"""Labels of each image, in the order of the list."""


class _NusWide(Dataset, ABC):
    @classmethod
    def sign(cls, root: Path) -> Path | None:
        return first(root, "Concepts81.txt", "*/Concepts81.txt")

    @abstractmethod
    def marks(self, part: str) -> Marks:
        """Yield the labels of the images of `Train` or `Test`. Raises BadSource if a file of labels is missing."""

    def items(self) -> Iterator[Item]:
        photos = Listed(self)
        for part, split in PARTS.items():
            path = self.file(f"{part}Imagelist.txt")
            for number, (listed, labels) in enumerate(zip_longest(lines(path), self.marks(part)), 1):
                if listed is None or labels is None:
                    raise BadSource(
                        f"{path} and the labels of {part} have different numbers of lines (line {number} is missing in "
                        "one of them), so no label is certain; download them again"
                    )
                if item := photos.take(listed[1], labels, split):
                    yield item
        photos.close()

    def file(self, name: str) -> Path:
        """Return a file of the lists, of the labels or of the tags. Raises BadSource if it is missing."""
        path = first(self.root, name, f"*/{name}", f"*/*/{name}", f"*/*/*/{name}")
        if path is None:
            raise BadSource(f"{self.root} has no {name}: download it, and put it into this folder or one in it")
        return path

    @property
    def concepts(self) -> list[str]:
        return [name for _, name in lines(self.file("Concepts81.txt"))]

    def checked(self, part: str) -> Marks:
        """Yield the concepts of each image. Raises BadSource for a line that is not 0 or 1."""
        names = self.concepts
        paths = [self.file(f"Labels_{name}_{part}.txt") for name in names]
        with ExitStack() as opened:
            texts = [opened.enter_context(open_text(path)) for path in paths]
            for rows in zip_longest(*texts):
                bits = [None if row is None else row.strip() for row in rows]
                if wrong := [i for i, bit in enumerate(bits) if bit not in ("0", "1")]:
                    raise BadSource(f"{paths[wrong[0]]} has a line with {bits[wrong[0]]!r}, not 0 or 1: it is damaged")
                yield [name for name, bit in zip(names, bits, strict=True) if bit == "1"]


class NusWide(_NusWide):
    """NUS-WIDE with its 81 concepts as labels."""

    understood = "NUS-WIDE: 81 concepts that people checked; Train is train, Test is test"

    def marks(self, part: str) -> Marks:
        return self.checked(part)


class NusWide1006(_NusWide):
    """NUS-WIDE with 1,006 labels: the 81 concepts, and the 925 tags that are not among them."""

    understood = "NUS-WIDE: 81 concepts that people checked, and 925 tags of Flickr; Train is train, Test is test"

    def marks(self, part: str) -> Marks:
        concepts = set(self.concepts)
        tags = [name for _, name in lines(self.file("TagList1k.txt"))]
        path = self.file(f"{part}_Tags1k.dat")
        for row, checked in zip_longest(lines(path), self.checked(part)):
            if row is None or checked is None:
                raise BadSource(f"{path} and Labels_*_{part}.txt have different numbers of lines: download them again")
            bits = row[1].split()
            if len(bits) != len(tags) or not {*bits} <= {"0", "1"}:
                raise BadSource(f"{row[0]} is not a 0 or 1 for each of {len(tags)} tags: it is damaged")
            found = (name for name, bit in zip(tags, bits, strict=True) if bit == "1" and name not in concepts)
            yield [*checked, *found]
