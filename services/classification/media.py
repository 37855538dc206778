"""Vectors of images, sounds and videos from the embedding service."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from starlette.concurrency import run_in_threadpool

from classifiers.published.asking import next_inputs, require
from classifiers.published.head import PublishedHead
from classifiers.published.inputs import Input
from services.classification.state import ClassificationService
from services.classification.vectors import Columns
from services.web.errors import RemoteProblem
from services.web.schemas import Problem
from services.web.wire import Upload, Vectored, VectoredBatch


async def of_media(
    service: ClassificationService, uploads: Sequence[Upload], heads: Sequence[PublishedHead], *, all_steps: bool
) -> Columns:
    """Return the vectors that the heads need. If a cascade is certain of an item, its other inputs stay empty.

    Args:
        all_steps: embed every item with every encoder of a cascade.

    Raises:
        ServiceDown, RemoteProblem: the embedding service does not answer, or lacks an encoder that a head needs.
        WrongFingerprint: its encoder of that name is not the one that the head was trained on.
    """
    media = Media(service, uploads, heads)
    while wanted := await media.next_inputs(all_steps=all_steps):
        await media.embed(wanted)
    require(heads, media.found, media.problems)
    return media.found


OTHER_MODALITY = "wrong_modality"
"""Code of the problem of a file that an encoder does not take."""


class Media:
    """The files of a request, and their vectors as far as they were embedded.

    Attributes:
        found: input → an item for each file. Inputs that the embedding service cannot embed are removed.
        problems: the reason for each removed input.
    """

    def __init__(
        self, service: ClassificationService, uploads: Sequence[Upload], heads: Sequence[PublishedHead]
    ) -> None:
        self.service, self.uploads, self.heads = service, uploads, heads
        blocks = [zip(head.inputs, head.manifest.encoders, strict=True) for head in heads]
        self.names = {each: encoder.name for pairs in blocks for each, encoder in pairs}
        self.found: dict[Input, list[Vectored]] = {each: self._column() for each in self.names}
        self.problems: list[RemoteProblem] = []

    def _column(self) -> list[Vectored]:
        """Return an item for each file before it is embedded: without a vector, with an error if it was not read."""
        return [Vectored(None, upload.name, error=upload.error) for upload in self.uploads]

    async def next_inputs(self, *, all_steps: bool) -> dict[Input, list[int]]:
        """Return what to embed next, see `classifiers.published.asking.next_inputs`."""
        if all_steps or not any(head.steps for head in self.heads):
            return next_inputs(self.heads, self.found, all_steps=True)
        return await run_in_threadpool(next_inputs, self.heads, self.found)

    async def embed(self, wanted: Mapping[Input, Sequence[int]]) -> None:
        """Embed the wanted files of every input at once."""
        answers = await asyncio.gather(*(self._embedded(each, which) for each, which in wanted.items()))
        for (each, which), answer in zip(wanted.items(), answers, strict=True):
            if isinstance(answer, RemoteProblem):
                self.problems.append(answer)
                del self.found[each]
                continue
            there = Input(answer.fingerprint, each.tokens)
            if there != each:
                del self.found[each]
            column = self.found.setdefault(there, self._column())
            for i, item in zip(which, answer.items, strict=True):
                column[i] = self._in_terms_of_heads(each, replace(item, name=self.uploads[i].name))

    def _in_terms_of_heads(self, each: Input, item: Vectored) -> Vectored:
        """Return the item. If its encoder does not take the file, the problem names the heads: users choose these."""
        encoder = f"{self.names[each]} takes "
        if item.error is None or item.error.code != OTHER_MODALITY or not item.error.message.startswith(encoder):
            return item
        heads = [repr(head.name) for head in self.heads if each in head.inputs]
        reads = f"head {heads[0]} reads" if len(heads) == 1 else f"heads {', '.join(heads)} read"
        said = f"{reads} {item.error.message.removeprefix(encoder)}; ask a head for files of that kind"
        return replace(item, error=Problem(code=OTHER_MODALITY, message=said))

    async def _embedded(self, each: Input, which: Sequence[int]) -> VectoredBatch | RemoteProblem:
        """Return the vectors, or the problem if the embedding service does not have the encoder."""
        try:
            return await self.service.embedding.embed(
                [self.uploads[i] for i in which],
                encoder=self.names[each],
                tokens=each.tokens,
                modality=self.uploads[which[0]].modality,
            )
        except RemoteProblem as problem:
            if problem.code != "unknown_encoder":
                raise
            return problem
