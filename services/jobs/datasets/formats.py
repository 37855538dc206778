"""The formats of published data sets by name, and the choice of the one that a folder has.

A new format is a subclass of `Dataset` in a file of its own, and a row here.
"""

from pathlib import Path

from services.jobs.datasets.cifar import Cifar10, Cifar100, Cifar100Coarse
from services.jobs.datasets.coco import Coco, CocoCaptions
from services.jobs.datasets.dataset import Dataset
from services.jobs.datasets.esc50 import Esc50
from services.jobs.datasets.flickr import Flickr
from services.jobs.datasets.imagenet import ImageNet
from services.jobs.datasets.msr_vtt import MsrVtt, MsrVttCategories
from services.jobs.datasets.nus_wide import NusWide, NusWide1006
from services.jobs.datasets.openimages import OpenImages, OpenImagesAbsent
from store.errors import BadSource

FORMATS: dict[str, type[Dataset]] = {
    "cifar10": Cifar10,
    "cifar100": Cifar100,
    "cifar100-coarse": Cifar100Coarse,
    "imagenet": ImageNet,
    "esc50": Esc50,
    "coco": Coco,
    "coco-captions": CocoCaptions,
    "nus-wide": NusWide,
    "nus-wide-1006": NusWide1006,
    "openimages": OpenImages,
    "openimages-absent": OpenImagesAbsent,
    "msr-vtt": MsrVtt,
    "msr-vtt-categories": MsrVttCategories,
    "flickr": Flickr,
}
"""Every format. Of several that read the same folder, the first is the one that is recognised."""


class UnknownFormat(BadSource):
    """There is no format of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no format {name!r}; the formats are {', '.join(FORMATS)}")


def recognised(folder: Path) -> str | None:
    """Return the name of the format that a folder has for certain; None if it has none."""
    if not folder.is_dir():
        return None
    return next((name for name, dataset in FORMATS.items() if dataset.sign(folder)), None)


def open_dataset(folder: str | Path, name: str) -> Dataset:
    """Return the data set in `folder`, which has the format `name`.

    Raises UnknownFormat, and BadSource if the folder does not have that format.
    """
    root = Path(folder).expanduser().absolute()
    if name not in FORMATS:
        raise UnknownFormat(name)
    dataset = FORMATS[name](root)
    if not root.is_dir() or dataset.sign(root) is None:
        other = recognised(root)
        remedy = f"it has the format {other}" if other else "give the folder into which all its archives were unpacked"
        raise BadSource(f"{root} does not have the files of the format {name}; {remedy}")
    return dataset
