"""The files of captions and splits by Karpathy and Fei-Fei, on which papers report image-text retrieval.

Layout: https://cs.stanford.edu/people/karpathy/deepimagesent/ (`dataset_coco.json`, `dataset_flickr8k.json`,
`dataset_flickr30k.json`): ``{"images": [{"filename", "split", "sentences": [{"raw"}]}]}``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from services.jobs.annotations.json_stream import pieces
from services.jobs.annotations.text import open_text
from services.jobs.datasets.dataset import Dataset
from services.jobs.datasets.listed import Listed
from services.jobs.datasets.texts import captions
from store.errors import BadSource
from store.items import Item

SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
"""Split for each name of one. `restval` has the images of COCO's val that are neither in val nor in test."""


def items(dataset: Dataset, path: Path) -> Iterator[Item]:
    """Yield the listed images with their captions. Raises BadSource if the file lists none."""
    images, count = Listed(dataset), 0
    with open_text(path) as text:
        for key, piece in pieces(text, path):
            if key != "images":
                continue
            count += 1
            name, split, texts = _fields(piece)
            if not isinstance(name, str) or not isinstance(split, str) or split not in SPLITS or texts is None:
                dataset.count("rows_damaged", f"{path}: {str(piece)[:80]}")
                continue
            item = images.take(name, captions(dataset, texts, f"{path}, {name}"), SPLITS[split])
            if item is not None:
                yield item
    if not count:
        raise BadSource(f"{path} lists no images: it is damaged or another file")
    images.close()


def _fields(piece: object) -> tuple[object, object, list[object] | None]:
    """Return the name of an image, its split, and its sentences; None for sentences that are no list of objects."""
    if not isinstance(piece, Mapping):
        return None, None, None
    sentences = piece.get("sentences")
    if not isinstance(sentences, list) or not all(isinstance(each, Mapping) for each in sentences):
        return piece.get("filename"), piece.get("split"), None
    return piece.get("filename"), piece.get("split"), [each.get("raw") for each in sentences]
