"""Labels of a request: a head that knows texts of its labels can score other labels for one request."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import WrongFingerprint
from classifiers.prompts import class_texts, class_vectors
from classifiers.published.head import PublishedHead
from classifiers.published.manifest import EncoderBlock
from services.classification.embedding import Embedding
from services.web.errors import BadRequest, NotOffered, RemoteProblem
from services.web.quoting import shortened
from services.web.schemas import MOST_LABEL

KEPT = 10_000
"""Maximum number of text vectors in memory, 51 MB at 1280 columns. The least recently used one is dropped first."""

MOST_CHARACTERS = 2**16
"""Maximum number of characters of all prompts of all labels of a request. They are embedded in about 5 s on one core;
256 labels of 15 characters fit with the usual 7 prompts."""

Vector = NDArray[np.float32]


def parse_labels(text: str, most: int) -> tuple[str, ...]:
    """Return the names in a comma-separated list.

    Raises BadRequest: an empty name, more than `most` names, a name that repeats, or a name that is too long.
    """
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) != len(names):
        raise BadRequest(f"labels={shortened(text)!r}: give names separated by commas, none empty and each once")
    if len(names) > most:
        raise BadRequest(f"labels: {len(names)} names, at most {most} in one request; ask in several")
    if long := [name for name in names if len(name) > MOST_LABEL]:
        raise BadRequest(f"labels: {long[0][:50]!r}… has {len(long[0])} characters, at most {MOST_LABEL}")
    return names


def _check_length(labels: Sequence[str], prompts: Sequence[str]) -> None:
    """Raise NotOffered if the texts of the labels take too long to embed."""
    size = len(prompts) * sum(map(len, labels)) + len(labels) * sum(map(len, prompts))
    if size > MOST_CHARACTERS:
        raise NotOffered(
            f"labels: {len(labels)} names in {len(prompts)} prompts have {size} characters, at most {MOST_CHARACTERS} "
            "in one request; ask with fewer or shorter names"
        )


class LabelTexts:
    """Text vectors of labels from the embedding service. Recently used ones are kept in memory.

    All calls are on one event loop, so nothing is locked. Two requests at the same time may fetch the same label.
    """

    def __init__(self, embedding: Embedding, *, at_once: int) -> None:
        self._embedding, self._at_once = embedding, at_once
        self._kept: OrderedDict[tuple[str, tuple[str, ...], str], Vector] = OrderedDict()

    async def asked_for(self, heads: Sequence[PublishedHead], labels: Sequence[str]) -> list[PublishedHead]:
        """Return the heads for these labels.

        Raises:
            NoTexts: a head knows no texts of its labels.
            NotOffered: one label for a head that gives each row exactly one of them, or too many characters.
            WrongFingerprint: the embedding service does not have the encoder of the head's texts.
            ServiceDown, RemoteProblem: the embedding service does not answer, or refuses the texts.
        """
        for head in heads:  # a refusal must not cost an embedding
            _, prompts = head.require_texts()
            _check_length(labels, prompts)
            if len(labels) < 2 and head.head.link == "softmax":
                raise NotOffered(
                    f"labels: head {head.name!r} gives each item exactly one label, so it needs at least 2 names; got 1"
                )
        return [head.with_labels(labels, await self._vectors(head, labels)) for head in heads]

    async def _vectors(self, head: PublishedHead, labels: Sequence[str]) -> Vector:
        """Return the text vectors of the labels (m, d), the encoders' columns side by side."""
        encoders, prompts = head.require_texts()
        return np.concatenate([await self._of(head, each, prompts, labels) for each in encoders], axis=1)

    async def _of(
        self, head: PublishedHead, encoder: EncoderBlock, prompts: tuple[str, ...], labels: Sequence[str]
    ) -> Vector:
        """Return the text vectors of the labels for one encoder, (m, d), from memory or from the embedding service."""
        keys = {label: (encoder.fingerprint, prompts, label) for label in labels}
        found = {label: self._kept[key] for label, key in keys.items() if key in self._kept}
        missing = [label for label in labels if label not in found]
        if missing:
            found |= zip(missing, await self._fetched(head, encoder, prompts, missing), strict=True)
        for label, key in keys.items():
            self._kept[key] = found[label]
            self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return np.stack([found[label] for label in labels])

    async def _fetched(
        self, head: PublishedHead, encoder: EncoderBlock, prompts: tuple[str, ...], labels: Sequence[str]
    ) -> list[Vector]:
        """Return the averaged text vectors of each label's prompts, as at training."""
        texts = list(dict.fromkeys(class_texts(labels, prompts)))
        rows: list[Vector] = []
        for start in range(0, len(texts), self._at_once):
            some = texts[start : start + self._at_once]
            try:
                rows += list(await self._embedding.embed_texts(some, encoder=encoder.fingerprint))
            except RemoteProblem as problem:
                if problem.code != "unknown_encoder":
                    raise
                loaded = "none with this fingerprint in the embedding service"
                raise WrongFingerprint(head.name, (f"{encoder.name} ({encoder.fingerprint})",), (loaded,)) from problem
        known = dict(zip(texts, rows, strict=True))
        vectors = class_vectors(lambda some: [known[text] for text in some], labels, prompts, (0, len(rows[0])))
        return list(vectors.astype(np.float32))
