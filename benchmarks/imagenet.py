"""ImageNet accuracy of lite0, lite1 and lite2 with the classifiers in their checkpoints.

python -m benchmarks.imagenet PARQUET… [--encoder lite0] [--backend auto openvino-fp32] [--resize 256]

Parquet files with the columns `image` (bytes) and `label`: an index (0 to 999), a WordNet id (n02123045), or a name
(tabby, or the full "tabby, tabby cat"). An encoder uses the full short side of an image; published figures cut off a
sixteenth at each end, which is --resize 256 for lite0.
"""

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from timm.data import ImageNetInfo

from embedder import registry
from embedder.encoder import Encoder
from embedder.encoders.lite import network
from embedder.encoders.lite.configs import CONFIGS
from embedder.errors import BadMedia
from embedder.media import decode
from services.settings import Settings
from store.interchange import read_sources
from store.sources import Item

BATCH = 32


def names() -> dict[str, set[int]]:
    """Return {each way to write a class: its indices}. Some names stand for several classes, e.g. crane."""
    info = ImageNetInfo()
    found: dict[str, set[int]] = {}
    for index, wnid in enumerate(info.label_names()):
        for name in (str(index), wnid, info.index_to_description(index)):
            found.setdefault(name, set()).add(index)
    whole = set(found)
    for index in range(info.num_classes()):
        for synonym in info.index_to_description(index).split(", "):
            if synonym not in whole:
                found.setdefault(synonym, set()).add(index)
    return found


def index_of(item: Item, known: Mapping[str, set[int]]) -> int:
    """Return the class index of a row. Raises ValueError for a label that names no class, or several classes."""
    label = item.labels[0] if item.labels and len(item.labels) == 1 else item.labels
    indices = known.get(label, set()) if isinstance(label, str) else set()
    if len(indices) != 1:
        meant = f"stands for the classes {sorted(indices)}" if indices else "is no class of ImageNet"
        raise ValueError(f"{item.uri}: label {label!r} {meant}; give an index from 0 to 999, a WordNet id or a name")
    return next(iter(indices))


@dataclass(frozen=True)
class Ranks:
    """Results on a set of images.

    Attributes:
        ranks: rank of the true class among the thousand classes, 0 for the first, (n,).
        unread: a sentence on each image that could not be read.
    """

    ranks: NDArray[np.int64]
    unread: list[str]

    def top(self, k: int) -> str:
        """Return as text the share of images whose class is among the first k, with its 95 % interval (Wilson 1927)."""
        right, n = int((self.ranks < k).sum()), len(self.ranks)
        low, high = binomtest(right, n).proportion_ci(method="wilson")
        return f"top-{k} {right / n:.4f} ({low:.4f} to {high:.4f})"


def classify(encoder: Encoder, items: Iterable[Item]) -> Ranks:
    """Classify images with the classifier in the encoder's checkpoint. Memory: one batch of images."""
    known, unread = names(), []
    state = network.state(CONFIGS[encoder.name])
    weight, bias = state["classifier.weight"].numpy(), state["classifier.bias"].numpy()

    def prepared(item: Item) -> NDArray[np.uint8] | str:
        try:
            return encoder.prepare(decode(item.read(), "image"))
        except (BadMedia, OSError) as error:
            return f"{item.uri}: {error}"

    def ranks() -> Iterator[NDArray[np.int64]]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            rows = iter(items)
            while batch := list(islice(rows, BATCH)):
                truth = np.array([index_of(item, known) for item in batch])
                pixels = list(pool.map(prepared, batch))
                read = [not isinstance(each, str) for each in pixels]
                unread.extend(each for each in pixels if isinstance(each, str))
                if any(read):
                    vectors = encoder.embed(np.stack([each for each in pixels if not isinstance(each, str)])).vectors
                    scores = vectors @ weight.T + bias
                    own = scores[np.arange(len(scores)), truth[read]]
                    yield (scores > own[:, None]).sum(axis=1)

    return Ranks(np.concatenate([np.zeros(0, np.int64), *ranks()]), unread)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+", metavar="PARQUET")
    parser.add_argument("--encoder", nargs="+", default=["lite0"], choices=sorted(CONFIGS))
    parser.add_argument("--backend", nargs="+", default=["auto"])
    parser.add_argument("--resize", type=int, help="short side in pixels; default: the encoder's own")
    options = parser.parse_args()
    for name in options.encoder:
        if options.resize:
            CONFIGS[name] = replace(CONFIGS[name], resize=options.resize)
        for backend in options.backend:
            encoder = registry.load(name, backend=backend, cache_dir=Settings().cache)
            found = classify(encoder, read_sources(options.sources))
            if not len(found.ranks):
                raise SystemExit(f"none of {len(found.unread)} images could be read: {'; '.join(found.unread[:3])}")
            shown = f"{name} on {encoder.backend}, short side {CONFIGS[name].resize}"
            print(f"{shown}: {found.top(1)}, {found.top(5)}, {len(found.ranks):,} images")
            if found.unread:
                print(f"{len(found.unread):,} images could not be read and are left out, e.g. {found.unread[0]}")


if __name__ == "__main__":
    main()
