"""Rows whose images are read as tokens. They are streamed from the store; in training, one file on disk holds them."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import NoDiskSpace, NoTokens, NotTrainable
from classifiers.training.rows.rows import LabelledRows, Rows
from embedder.spec import EncoderSpec
from store.errors import UnknownFeatures
from store.matrix import indicator_of
from store.rows import strings

if TYPE_CHECKING:
    from store import Features, Store

ROWS_AT_ONCE = 256
"""Number of rows that are read at a time: 64 MB of lite0's tokens in float32."""


def token_table(store: "Store", encoders: Sequence[str]) -> "Features":
    """Return the one encoder's table of tokens. Raises NotTrainable for several encoders, NoTokens without a table."""
    if len(encoders) != 1:
        raise NotTrainable(f"this kind reads the tokens of one encoder, got {len(encoders)}: {tuple(encoders)}")
    try:
        return store.tokens(encoders[0])
    except UnknownFeatures as error:
        raise NoTokens(encoders[0]) from error


class TokenRows(Rows):
    """The rows of one task with the tokens of one encoder."""

    @cached_property
    def features(self) -> "list[Features]":
        """The encoder's table of tokens. Raises NoTokens if there is none."""
        return [token_table(self.store, self.encoders)]

    def labelled_rows(self, split: str, classes: Sequence[str]) -> LabelledRows:
        """Return all rows of a split. X float16 (n, P, F) is mapped from a temporary file, deleted with the array.

        Raises NoDiskSpace if the disk has no room for it.
        """
        count, shape = self.labelled(split).num_rows, self.features[0].shape
        tokens = mapped((count, *shape))
        ids: list[str] = []
        truth = [np.zeros((0, len(classes)), np.bool_)]
        for part in self.parts(split, classes):
            tokens[len(ids) : len(ids) + len(part.ids)] = part.X.reshape(-1, *shape)
            ids += part.ids
            truth.append(part.Y)
        return LabelledRows(ids, tokens[: len(ids)], np.concatenate(truth))

    def parts(self, split: str, classes: Sequence[str]) -> Iterator[LabelledRows]:
        """Yield the rows of a split in parts of m rows, with X float32 (m, P · F)."""
        [features] = self.features
        labels = self.labelled(split).select(["id", "labels"]).sort_by("id")
        row: dict[str, int] = {id_: i for i, id_ in enumerate(strings(labels["id"]))}
        truth = indicator_of(labels["labels"].combine_chunks(), classes)
        version = self.snapshot.of(features.table)
        for ids, tokens in features.stream(list(row), ROWS_AT_ONCE, version=version):
            yield LabelledRows(ids, tokens.reshape(len(ids), self.dim), truth[[row[id_] for id_ in ids]])


class TextSpaceRows(TokenRows):
    """The rows of one task with what lies in the space of the encoder's text vectors: tokens, or else vectors.

    Tokens lie there if the encoder's vector is their mean, as for lite0. CLIP's vectors are projections, and its tokens
    are not, so its vectors are read.
    """

    @property
    def _by_tokens(self) -> bool:
        return tokens_in_text_space(self.store.features(self.encoders[0]).spec)

    @cached_property
    def features(self) -> "list[Features]":
        """The table of tokens, or of vectors. Raises NoTokens if there are no tokens where they are to be read."""
        if self._by_tokens:
            return [token_table(self.store, self.encoders)]
        return [self.store.features(encoder) for encoder in self.encoders]

    def labelled_rows(self, split: str, classes: Sequence[str]) -> LabelledRows:
        return (TokenRows if self._by_tokens else Rows).labelled_rows(self, split, classes)

    def parts(self, split: str, classes: Sequence[str]) -> Iterator[LabelledRows]:
        return (TokenRows if self._by_tokens else Rows).parts(self, split, classes)


def tokens_in_text_space(spec: EncoderSpec) -> bool:
    """Return True if an encoder's tokens lie in the space of its text vectors, see `TextSpaceRows`."""
    return spec.tokens is not None and spec.output == "pooled" and spec.tokens[1] == spec.dim


def mapped(shape: tuple[int, ...]) -> NDArray[np.float16]:
    """Return an array of zeros, float16, on disk in a file without a name, which is deleted with the array.

    Raises NoDiskSpace with the size if the folder for temporary files has too little free space.
    """
    size, folder = 2 * int(np.prod(shape)), tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if size > free:
        raise NoDiskSpace(
            f"the tokens of {shape[0]:,} rows take {size / 1e9:.1f} GB on disk while training, and {folder} has "
            f"{free / 1e9:.1f} GB free; use a folder for temporary files with more room, or label fewer rows"
        )
    if not size:
        return np.zeros(shape, np.float16)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float16, "w+", shape=shape)
