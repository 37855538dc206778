"""The judgement of a network in training: nearest neighbours on held-out images of a labelled task."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from classifiers.errors import NotTrainable
from classifiers.evaluation.neighbours import nearest_class
from classifiers.fit.discrimination.ranks import Ranks
from embedder.media.image import fit
from embedder.spec import ImagePreprocessing
from services.jobs.tune.embedding import Embedding
from services.jobs.tune.pixels import Reader, Wanted
from store import Store
from store.matrix import codes_of
from store.rows import strings

MOST = 5000
"""Most known images, and most images that are asked for. Each is embedded anew after every epoch."""
_BATCH = 32


class _Rows(NamedTuple):
    """Images of a task: their ids, and the codes of their classes (n,)."""

    ids: list[str]
    codes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """Asks nearest neighbours among the training images of a task for the classes of its held-out images.

    Attributes:
        known: images with split train.
        asked: images with split val, or test if the task has none in val.
        split: the split of `asked`.
        classes: number of classes.
        preprocessing: how images are prepared.
    """

    store: Store
    known: _Rows
    asked: _Rows
    split: str
    classes: int
    preprocessing: ImagePreprocessing
    reader: Reader

    @classmethod
    def of(cls, store: Store, task: str, preprocessing: ImagePreprocessing, reader: Reader, seed: int) -> "Judge":
        """Choose the images. Raises UnknownTask; NotOneLabel; NotTrainable for a task without such images."""
        rows = store.labels.get(task)
        rows = rows.filter(pc.is_in(rows["id"], value_set=store.assets.ids("image").combine_chunks()))
        classes, splits = store.labels.classes(task), set(rows["split"].to_pylist())
        split = "val" if "val" in splits else "test"
        if not {"train", split} <= splits:
            raise NotTrainable(
                f"task {task!r} cannot judge: it needs images in the split train and in val or test; name another task"
            )
        known, asked = (_some(rows, each, classes, task, seed) for each in ("train", split))
        return cls(store, known, asked, split, len(classes), preprocessing, reader)

    def accuracy(self, embedding: Embedding, device: torch.device, ranks: Ranks) -> float:
        """Return the share of held-out images whose class the neighbours name. All processes share the work."""
        embedding.eval()
        known, asked = (self._embedded(embedding, device, ranks, rows) for rows in (self.known, self.asked))
        embedding.train()
        return float((nearest_class(*known, asked[0], self.classes) == asked[1]).mean())

    def _embedded(
        self, embedding: Embedding, device: torch.device, ranks: Ranks, rows: _Rows
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return vectors and classes of the images that can be read."""
        mine = ranks.share(len(rows.ids))
        found = ranks.collected(list(self._vectors(embedding, device, rows.ids[mine])))
        pairs = [each for part in found for each in part]
        ids = {id_: place for place, id_ in enumerate(rows.ids)}
        if not pairs:
            raise NotTrainable("no image of the task that judges can be read; name another task")
        return np.stack([vector for _, vector in pairs]), rows.codes[[ids[id_] for id_, _ in pairs]]

    def _vectors(
        self, embedding: Embedding, device: torch.device, ids: Sequence[str]
    ) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Yield id and vector of the images that can be read."""
        contents = (Wanted(*each) for each in self.store.assets.contents(ids))
        prepared = self.reader.pixels(contents, lambda image, _: fit(image, self.preprocessing), _BATCH, 2 * _BATCH)
        good = (each for each in prepared if each.pixels is not None)
        while batch := list(islice(good, _BATCH)):
            pixels = torch.from_numpy(np.stack([each.pixels for each in batch if each.pixels is not None]))
            with torch.inference_mode():
                vectors = embedding.vectors(pixels.to(device)).cpu().numpy()
            yield from zip((each.id for each in batch), vectors, strict=True)


def _some(rows: pa.Table, split: str, classes: Sequence[str], task: str, seed: int) -> _Rows:
    """Return the images of a split that have a class, at most `MOST`, drawn at random."""
    rows = rows.filter(pc.equal(rows["split"], pa.scalar(split))).sort_by("id")
    ids = strings(rows["id"])
    codes = codes_of(ids, rows["labels"].combine_chunks(), classes, task)
    able = np.flatnonzero(codes >= 0)
    kept = np.sort(np.random.default_rng(seed).permutation(able)[:MOST])
    if not len(kept):
        raise NotTrainable(f"task {task!r} cannot judge: no image in {split} has a class; name another task")
    return _Rows([ids[row] for row in kept.tolist()], codes[kept])
