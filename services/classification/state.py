"""What the classification service holds: loaded heads, a client of the embedding service, perhaps a store."""

import logging
import time
from functools import lru_cache
from typing import Any

from starlette.concurrency import run_in_threadpool

from classifiers.errors import BadArtifact, UnknownAlias
from classifiers.published import PublishedHead
from classifiers.registry import Registry
from services.client import AsyncClient
from services.errors import BadRequest, RemoteProblem, ServiceDown
from services.metrics import Metrics
from services.schemas import HeadInfo, HeadsResponse
from services.settings import Settings
from store import Store, StoreError

log = logging.getLogger("headwater.classification")

READY_SECONDS = 1.0
"""How long one answer of the embedding service about its readiness is good for."""

LOADED_HEADS = 128
"""Most head versions kept in memory; the one asked for longest ago goes first."""


class ClassificationService:
    """Answers from heads. Vectors come from the request, the store or the embedding service."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.registry = Registry(settings.heads)
        self.embedding = AsyncClient(settings.embedding_url, service="embedding", timeout=settings.embedding_timeout)
        self._load = lru_cache(maxsize=LOADED_HEADS)(self._load_version)
        self._store: Store | None = None
        self._checked = float("-inf")
        self._embedding_ready: tuple[bool, str] = (False, "not asked yet")

    async def start(self) -> None:
        """Load the latest version of every head; what can't be trusted is refused by name, the others serve."""
        for name, reason in (await run_in_threadpool(self.catalogue)).refused.items():
            log.error("head refused", extra={"head": name, "reason": reason})

    async def stop(self) -> None:
        await self.embedding.aclose()

    async def ready(self) -> tuple[bool, dict[str, Any]]:
        """Ready when images can be answered, so only while the embedding service is ready too."""
        if time.monotonic() - self._checked > READY_SECONDS:
            self._embedding_ready = await self._ask_embedding()
            self._checked = time.monotonic()
        ok, reason = self._embedding_ready
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

    def store(self) -> Store:
        """The feature store, opened when first needed. Raises StoreError when none is set."""
        if not self.settings.store:
            raise StoreError("this service has no store; start it with --store or set HEADWATER_STORE")
        if self._store is None:
            self._store = Store.open(self.settings.store)
        return self._store

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
