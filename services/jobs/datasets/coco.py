"""COCO 2014 and 2017: images, objects in them (`instances_*.json`) and captions (`captions_*.json`).

Layout: https://cocodataset.org/#format-data and torchvision.datasets.CocoDetection.
"""

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from services.jobs.annotations.json_stream import pieces
from services.jobs.annotations.text import open_text
from services.jobs.datasets import karpathy
from services.jobs.datasets.dataset import Dataset, first
from services.jobs.datasets.listed import Listed
from services.jobs.datasets.texts import captions
from store.errors import BadSource
from store.items import Item

SPLITS = {"train": "train", "val": "test"}
"""Split for each part. The annotations of COCO's own test images are secret, so papers report figures on val."""

Pairs = list[tuple[object, object]]


class _Annotated(Dataset, ABC):
    """COCO by one sort of its annotations.

    Attributes:
        sort: start of the names of the files.
        field: the field of an annotation that is read.
    """

    sort: ClassVar[str]
    field: ClassVar[str]

    @classmethod
    def sign(cls, root: Path) -> Path | None:
        names = [f"annotations/{cls.sort}_{part}[0-9][0-9][0-9][0-9].json" for part in SPLITS]
        return first(root, *names, *(f"*/{name}" for name in names))

    @abstractmethod
    def labels(self, found: list[object], classes: Mapping[object, object], place: str) -> list[str] | None:
        """Return the labels of one image from the `field` of each of its annotations.

        Args:
            classes: {id: name} of the file, in its order.
        """

    def items(self) -> Iterator[Item]:
        images = Listed(self)
        for path, split in self._files():
            yield from self._part(path, split, images)
        images.close()

    def _files(self) -> list[tuple[Path, str]]:
        """Return the files of annotations with their splits. Raises BadSource if there are none, or several years'."""
        path = self.sign(self.root)
        name = re.compile(rf"{self.sort}_({'|'.join(SPLITS)})(\d{{4}})\.json")
        inside = sorted(path.parent.iterdir()) if path else []
        found = [(match, each) for each in inside if (match := name.fullmatch(each.name))]
        if not found:
            raise BadSource(f"{self.root} has no annotations/{self.sort}_train2017.json any more, nor another of them")
        if len({match[2] for match, _ in found}) > 1:
            raise BadSource(
                f"{found[0][1].parent} has the annotations of several years, which divide the same images in other "
                "ways; move those of all years but one to another folder"
            )
        return [(each, SPLITS[match[1]]) for match, each in found]

    def _part(self, path: Path, split: str, images: Listed) -> Iterator[Item]:
        found = self._load(path)
        names, classes = dict(found["images"]), dict(found["categories"])
        by_image: defaultdict[object, list[object]] = defaultdict(list)
        for image, value in found["annotations"]:
            if image in names:
                by_image[image].append(value)
            else:
                self.count("rows_damaged", f"{path}: an annotation names image {image}, which is not in the file")
        for image, name in names.items():
            labels = self.labels(by_image.get(image, []), classes, f"{path}, image {image}")
            if item := images.take(str(name), labels, split):
                yield item

    def _load(self, path: Path) -> dict[str, Pairs]:
        fields = {"images": ("id", "file_name"), "categories": ("id", "name"), "annotations": ("image_id", self.field)}
        found: dict[str, Pairs] = {key: [] for key in fields}
        with open_text(path) as text:
            for key, piece in pieces(text, path):
                if key not in fields:
                    continue
                a, b = (piece.get(name) if isinstance(piece, Mapping) else None for name in fields[key])
                if isinstance(a, int | str) and isinstance(b, int | str):
                    found[key].append((a, b))
                else:
                    self.count("rows_damaged", f"{path}, {key}: {str(piece)[:80]}")
        if not found["images"]:
            raise BadSource(f"{path} lists no images: it is damaged or another file")
        return found


class Coco(_Annotated):
    """COCO with the categories of its objects as labels; none for an image without objects."""

    understood = (
        "COCO: the labels of an image are the categories of its objects; train is train, val is test, because the "
        "annotations of the published test images are secret"
    )
    sort, field = "instances", "category_id"

    def labels(self, found: list[object], classes: Mapping[object, object], place: str) -> list[str]:
        for category in sorted(set(map(str, found)) - set(map(str, classes))):
            self.count("rows_damaged", f"{place}: there is no category {category}")
        return [str(name) for id_, name in classes.items() if id_ in set(found)]


class CocoCaptions(_Annotated):
    """COCO with its captions as labels, divided as COCO does, or as Karpathy and Fei-Fei did if their file is there."""

    understood = "captions of COCO; train is train, val is test, or as dataset_coco.json says if it is there"
    captions = True
    sort, field = "captions", "caption"

    @classmethod
    def sign(cls, root: Path) -> Path | None:
        return first(root, "dataset_coco.json", "*/dataset_coco.json") or super().sign(root)

    def items(self) -> Iterator[Item]:
        path = self.sign(self.root)
        if path is not None and path.name == "dataset_coco.json":
            return karpathy.items(self, path)
        return super().items()

    def labels(self, found: list[object], _: Mapping[object, object], place: str) -> list[str] | None:
        return captions(self, found, place)
