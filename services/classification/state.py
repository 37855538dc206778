"""What the classification service holds: loaded heads, a client of the embedding service, perhaps a store."""

import logging
from functools import lru_cache
from typing import Any

from starlette.concurrency import run_in_threadpool
from threadpoolctl import threadpool_limits

from classifiers.errors import BadArtifact, UnknownAlias
from classifiers.published.head import PublishedHead
from classifiers.published.registry import Registry
from services.classification.texts import LabelTexts
from services.client import AsyncClient
from services.settings import Settings
from services.web.app import Service
from services.web.errors import BadRequest, RemoteProblem, ServiceDown
from services.web.schemas import HeadInfo, HeadsResponse

log = logging.getLogger("headwater.classification")

LOADED_HEADS = 128
"""Most head versions kept in memory; the one asked for longest ago goes first."""


class ClassificationService(Service):
    """Answers from heads. Vectors come from the request, the store or the embedding service."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.registry = Registry(settings.heads)
        self.embedding = AsyncClient(settings.embedding_url, service="embedding", timeout=settings.embedding_timeout)
        self.texts = LabelTexts(self.embedding, at_once=settings.max_items)
        self._load = lru_cache(maxsize=LOADED_HEADS)(self._load_version)
        self._blas: threadpool_limits | None = None

    async def start(self) -> None:
        """Load the latest version of every head; what can't be trusted is refused by name, the others serve.

        Heads run on one BLAS thread: their products take a millisecond, but BLAS threads keep a core spinning long
        after it, and that core is wanted by the next request. Concurrent requests use the other cores.
        """
        self._blas = threadpool_limits(1, user_api="blas")
        for name, reason in (await run_in_threadpool(self.catalogue)).refused.items():
            log.error("head refused", extra={"head": name, "reason": reason})

    async def stop(self) -> None:
        await self.embedding.aclose()
        if self._blas:
            self._blas.restore_original_limits()

    async def ready(self) -> tuple[bool, dict[str, Any]]:
        """Ready when images can be answered, so only while the embedding service is ready too."""
        ok, reason = await self._ask_embedding()
        return ok, {"heads": self.registry.names(), "embedding": reason}

    async def heads(self, refs: list[str]) -> list[PublishedHead]:
        """Heads by ``name``, ``name@alias`` or ``name@version``; the only one there is when none is named.

        Aliases are read anew each time, so a promotion counts from the next request on, whichever process
        made it. Raises UnknownHead, UnknownAlias, BadArtifact, BadRequest.
        """
        if not refs:
            names = self.registry.names()
            if len(names) != 1:
                raise BadRequest(f"say which head with ?head=NAME; there are: {', '.join(names) or 'none yet'}")
            refs = names
        return [await run_in_threadpool(self._head, ref) for ref in refs]

    def catalogue(self) -> HeadsResponse:
        """Every head that can be served, and why the others can't."""
        heads, refused = [], {}
        for name in self.registry.names():
            try:
                head = self._head(name)
            except (BadArtifact, UnknownAlias) as error:
                refused[name] = str(error)
                continue
            heads.append(
                HeadInfo(
                    name=name,
                    versions=self.registry.versions(name),
                    aliases=self.registry.aliases(name),
                    kind=head.manifest.kind,
                    task=head.manifest.task,
                    classes=list(head.head.classes),
                    encoders=[encoder.name for encoder in head.manifest.encoders],
                )
            )
        return HeadsResponse(heads=heads, refused=refused)

    def _head(self, ref: str) -> PublishedHead:
        path = self.registry.path(ref)
        return self._load(path.parent.name, path.name)

    def _load_version(self, name: str, version: str) -> PublishedHead:
        return self.registry.load(f"{name}@{version}")

    async def _ask_embedding(self) -> tuple[bool, str]:
        try:
            await self.embedding.ready()
        except (ServiceDown, RemoteProblem) as error:
            return False, str(error)
        return True, "ready"
