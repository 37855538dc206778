"""CIFAR-10 and CIFAR-100 as data sets: their batches, in order, with their splits."""

from abc import ABC
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

from services.jobs.datasets.cifar.batches import Version, binary, python
from services.jobs.datasets.cifar.png import PIXELS, png
from services.jobs.datasets.dataset import Dataset
from store.errors import BadSource
from store.items import Item


class _Place(NamedTuple):
    folder: Path
    version: Version

    @property
    def names(self) -> Path:
        return self.folder / self.version.names


class _Cifar(Dataset, ABC):
    versions: ClassVar[tuple[Version, ...]]
    parts: ClassVar[Mapping[str, str]]
    """Split of each batch."""

    @classmethod
    def sign(cls, root: Path) -> Path | None:
        place = cls._place(root)
        return place and place.names

    @classmethod
    def _place(cls, root: Path) -> _Place | None:
        for version in cls.versions:
            for folder in (root / name for name in version.folders):
                batches = (folder / f"{part}{version.ending}" for part in cls.parts)
                if (folder / version.names).is_file() and any(path.is_file() for path in batches):
                    return _Place(folder, version)
        return None

    def items(self) -> Iterator[Item]:
        place = self._place(self.root)
        if place is None:
            raise BadSource(f"{self.root} has no batches and names of classes of CIFAR any more")
        names = place.version.read_names(place.names)
        for part, split in self.parts.items():
            path = place.folder / f"{part}{place.version.ending}"
            if path.is_file():
                yield from self._batch(path, split, names, place.version)
            else:
                self.count("parts_missing", str(path))

    def _batch(self, path: Path, split: str, names: list[str], version: Version) -> Iterator[Item]:
        try:
            codes, planes = version.read_batch(path)
        except BadSource as error:
            self.count("parts_damaged", str(error))
            return
        for i, code in enumerate(codes):
            uri = f"{path}#{i}"
            if 0 <= code < len(names):
                data = png(planes[i * PIXELS : (i + 1) * PIXELS])
                yield Item(uri, data, [names[code]], split, "image")
            else:
                self.count("rows_damaged", f"{uri}: there is no class {code}")


class Cifar10(_Cifar):
    """CIFAR-10: 10 classes, 50,000 training images and 10,000 test images of 32 × 32 pixels."""

    understood = "CIFAR-10: 10 classes; data_batch_1 to 5 are train, test_batch is test"
    versions = (
        python("cifar-10-batches-py", "batches.meta", "label_names", "labels"),
        binary("cifar-10-batches-bin", "batches.meta.txt", 0, 1),
    )
    parts = {f"data_batch_{number}": "train" for number in range(1, 6)} | {"test_batch": "test"}


class Cifar100(_Cifar):
    """CIFAR-100 with its 100 fine classes."""

    understood = "CIFAR-100: 100 fine classes; train is train, test is test"
    versions = (
        python("cifar-100-python", "meta", "fine_label_names", "fine_labels"),
        binary("cifar-100-binary", "fine_label_names.txt", 1, 2),
    )
    parts: ClassVar[Mapping[str, str]] = {"train": "train", "test": "test"}


class Cifar100Coarse(Cifar100):
    """CIFAR-100 with its 20 coarse classes."""

    understood = "CIFAR-100: 20 coarse classes; train is train, test is test"
    versions = (
        python("cifar-100-python", "meta", "coarse_label_names", "coarse_labels"),
        binary("cifar-100-binary", "coarse_label_names.txt", 0, 2),
    )
