"""Vectors of images from the embedding service: every encoder at once, but those of a cascade one after the other."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from starlette.concurrency import run_in_threadpool

from classifiers.published.head import TOKENS, PublishedHead
from services.classification.state import ClassificationService
from services.classification.vectors import ByEncoder, answerable, require
from services.web.errors import RemoteProblem
from services.web.wire import Upload, Vectored, VectoredBatch


async def of_images(
    service: ClassificationService, uploads: Sequence[Upload], heads: Sequence[PublishedHead], *, all_stages: bool
) -> ByEncoder:
    """The vectors that the heads need. An item has neither vector nor problem where a cascade was sure without it.

    A fused head does without the encoders that are not loaded there; a cascade asks for all others at once then.

    Args:
        all_stages: ask every encoder of a cascade for every image.

    Raises ServiceDown, RemoteProblem; WrongFingerprint when that service's encoder is not the heads'.
    """
    images = Images(service, uploads, heads)
    cascades = [] if all_stages else [head for head in heads if head.stages]
    first = [read for head in heads for read in (head.inputs if all_stages else head.stages[:1] or head.inputs)]
    wanted: Mapping[str, Sequence[int]] = dict.fromkeys(first, images.good)
    while wanted:
        if not await images.ask(wanted) and cascades:
            return await of_images(service, uploads, heads, all_stages=True)
        wanted = await run_in_threadpool(images.unsure, cascades) if cascades else {}
    require(heads, images.found, images.problems)
    unasked = {read for head in cascades for read in head.stages} - images.found.keys()
    return images.found | {read: images.column() for read in unasked}


class Images:
    """The images of a request, and their vectors as far as they were asked for.

    Attributes:
        good: the numbers of those that can be embedded.
        found: what heads read → an item for each image.
        problems: of encoders that the embedding service does not have.
    """

    def __init__(
        self, service: ClassificationService, uploads: Sequence[Upload], heads: Sequence[PublishedHead]
    ) -> None:
        self.service, self.uploads = service, uploads
        self.good = [i for i, upload in enumerate(uploads) if upload.error is None]
        blocks = [zip(head.inputs, head.manifest.encoders, strict=True) for head in heads]
        self.names = {read: encoder.name for pairs in blocks for read, encoder in pairs}
        self.found: dict[str, list[Vectored]] = {}
        self.problems: list[RemoteProblem] = []

    def column(self) -> list[Vectored]:
        """An item for each image, before any was embedded."""
        return [Vectored(None, upload.name, error=upload.error) for upload in self.uploads]

    async def ask(self, wanted: Mapping[str, Sequence[int]]) -> bool:
        """Embeds the images that are wanted for each read; whether the service has all of these encoders."""
        answers = await asyncio.gather(*(self._embedded(read, which) for read, which in wanted.items()))
        for (read, which), answer in zip(wanted.items(), answers, strict=True):
            if isinstance(answer, RemoteProblem):
                self.problems.append(answer)
                continue
            column = self.found.setdefault(answer.fingerprint + TOKENS * read.endswith(TOKENS), self.column())
            for i, item in zip(which, answer.items, strict=True):
                column[i] = item
        return wanted.keys() <= self.found.keys()

    async def _embedded(self, read: str, which: Sequence[int]) -> VectoredBatch | RemoteProblem:
        """The vectors, or that the embedding service has no such encoder."""
        name, tokens = self.names[read], read.endswith(TOKENS)
        if not which:
            return VectoredBatch(name, read.removesuffix(TOKENS), [])
        try:
            return await self.service.embedding.embed(
                [self.uploads[i] for i in which], encoder=name, tokens=tokens, modality=self.uploads[0].modality
            )
        except RemoteProblem as problem:
            if problem.code != "unknown_encoder":
                raise
            return problem

    def unsure(self, cascades: Sequence[PublishedHead]) -> dict[str, list[int]]:
        """What each cascade reads next of the images that it is not sure of yet."""
        wanted: dict[str, set[int]] = defaultdict(set)
        for head in cascades:
            known = {read: self.column() for read in head.stages} | self.found
            for stopped, rows in answerable(head, known):
                if stopped.asked:
                    goes_on = stopped.unsure(np.stack(list(rows.values())))
                    wanted[head.stages[len(stopped.asked)]].update(np.array(list(rows))[goes_on].tolist())
        return {read: sorted(which) for read, which in wanted.items() if which}
