"""State of the classification service: loaded heads, a client of the embedding service, and the store if one is set."""

import logging
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from starlette.concurrency import run_in_threadpool
from threadpoolctl import threadpool_limits

from classifiers.errors import BadArtifact, UnknownAlias, UnknownHead, UnknownVersion
from classifiers.published.head import PublishedHead
from classifiers.published.registry import Registry
from services.classification.embedding import Embedding, EmbeddingClient
from services.classification.jobs.service import Known, ServiceJobs
from services.classification.learn.service import Learning
from services.classification.readiness import Capability, readiness, summary
from services.classification.texts import LabelTexts
from services.classification.view.columns_cache import SharedResults
from services.classification.view.thumbnails import Thumbnails
from services.processes import url_of
from services.settings import Settings
from services.web.access.keys import secret_of
from services.web.app import Service
from services.web.errors import HeadNeeded
from services.web.schemas import HeadInfo, HeadsResponse

log = logging.getLogger("headwater.classification")

LOADED_HEADS = 128
"""Maximum number of head versions in memory; the least recently used one is dropped first."""


class ClassificationService(Service):
    """Heads, and where their vectors come from: the request, the store or the embedding service."""

    name = "headwater-classification"

    def __init__(self, settings: Settings, embedding: Embedding | None = None) -> None:
        """
        Args:
            embedding: the embedding service; None for the one at the address in `settings`.
        """
        super().__init__(settings)
        self.registry = Registry(settings.heads)
        self.embedding = embedding or _client(settings)
        self.texts = LabelTexts(self.embedding, at_once=settings.max_items)
        self.view = SharedResults()
        self._load = lru_cache(maxsize=LOADED_HEADS)(self._load_version)
        self._blas: threadpool_limits | None = None
        known = Known(self.store, self._head)
        self.thumbnails = Thumbnails(self.store, settings)
        self.jobs = ServiceJobs(settings, known, self.metrics, lambda: self.admission.stopping)
        self.learning = Learning(settings, self.registry, known, lambda: self.admission.stopping)

    async def start(self) -> None:
        """Load the latest version of every head. A damaged head is logged and refused; all others are served.

        Heads run on one BLAS thread: their products take a millisecond, but BLAS threads keep a core spinning long
        after that, and the next request needs the core. Concurrent requests use the other cores.
        """
        self._blas = threadpool_limits(1, user_api="blas")
        for name, reason in (await run_in_threadpool(self.catalogue)).refused.items():
            log.error("head refused", extra={"head": name, "reason": reason})
        self.jobs.start()

    async def stop(self) -> None:
        self.view.close()
        await run_in_threadpool(self.jobs.stop)
        await run_in_threadpool(self.thumbnails.stop)
        await run_in_threadpool(self.learning.stop)
        await self.embedding.aclose()
        if self._blas:
            self._blas.restore_original_limits()

    async def ready(self, needs: Collection[Capability] = ()) -> tuple[bool, dict[str, Any]]:
        """Return True if heads can answer for vectors or stored ids, and all `needs` are ready, with the details."""
        return summary(await readiness(self.registry, self, self.embedding), needs)

    async def heads(self, refs: list[str]) -> list[PublishedHead]:
        """Return heads by ``name``, ``name@alias`` or ``name@version``. Without names, return the only head there is.

        Aliases are read for every request, so a promotion by any process takes effect at the next request.

        Raises:
            UnknownHead, UnknownAlias, UnknownVersion, BadArtifact: a head that is not there or is damaged.
            HeadNeeded: no name, and there is not exactly one head.
        """
        if not refs:
            names = self.registry.names()
            if len(names) != 1:
                raise HeadNeeded(names)
            refs = names
        return [await run_in_threadpool(self._head, ref) for ref in refs]

    def catalogue(self) -> HeadsResponse:
        """Return every head that can be served, and the reason why each other head is refused."""
        heads, refused = [], {}
        for name in self.registry.names():
            try:
                heads.append(self._info(name))
            except (BadArtifact, UnknownHead, UnknownAlias, UnknownVersion) as error:
                refused[name] = str(error)
        return HeadsResponse(heads=heads, refused=refused)

    def _info(self, name: str) -> HeadInfo:
        head = self._head(name)
        return HeadInfo(
            name=name,
            versions=self.registry.versions(name),
            aliases=self.registry.aliases(name),
            kind=head.manifest.kind,
            task=head.manifest.task,
            classes=list(head.head.classes),
            encoders=[encoder.name for encoder in head.manifest.encoders],
        )

    def _head(self, ref: str) -> PublishedHead:
        path = self.registry.path(ref)
        return self._load(path.parent.name, path.name)

    def _load_version(self, name: str, version: str) -> PublishedHead:
        return self.registry.load(f"{name}@{version}")


def _client(settings: Settings) -> EmbeddingClient:
    url = settings.embedding_url or url_of(settings.host, settings.embedding_port)
    key = secret_of(settings.embedding_key)
    return EmbeddingClient(url, service="embedding", timeout=settings.embedding_timeout, key=key)
