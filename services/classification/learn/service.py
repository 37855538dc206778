"""Learning in a classification service: what can be learned, and one training at a time."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec

from starlette.concurrency import run_in_threadpool

from classifiers.errors import BadArtifact
from classifiers.published.head import PublishedHead
from classifiers.published.registry import Registry
from services.classification.jobs.service import Known
from services.classification.learn.process import WarmProcess
from services.jobs.learnable import targets, with_vectors
from services.settings import Settings
from services.web.errors import LearningBusy, LearningUnavailable
from services.web.quoting import shortened
from services.web.schemas.learn import (
    LEARNABLE,
    CurrentHead,
    LearnableResponse,
    LearnableTask,
    LearnRequest,
    LearnResponse,
)
from store import Store
from store.errors import UnknownTask


class Learning:
    """Trains heads in a process of its own, one after the other.

    Args:
        known: the store and the heads of the service.
        stopping: returns True once the service is being stopped.
    """

    def __init__(self, settings: Settings, registry: Registry, known: Known, stopping: Callable[[], bool]) -> None:
        self._settings, self._registry, self._known = settings, registry, known
        self.process = WarmProcess(settings, stopping)
        self._turn = asyncio.Lock()
        self._seen: tuple[Mapping[str, int], list[LearnableTask]] = ({}, [])

    def stop(self) -> None:
        """End the process that trains."""
        self.process.stop()

    def learnable(self) -> LearnableResponse:
        """Return what can be learned, and start the process that trains.

        Raises LearningUnavailable, LearningFailed, StoreError.
        """
        self._require_available()
        store, heads = self._known.store(), list(self._latest())
        self.process.start()
        tasks = [each.model_copy(update={"current": _current(heads, each.name)}) for each in self._tasks(store)]
        return LearnableResponse(ready=self.process.ready, tasks=tasks)

    async def learn(self, body: LearnRequest) -> LearnResponse:
        """Train a version of a head, and compare it with the one before.

        Raises:
            LearningUnavailable, LearningBusy, LearningTooSlow, LearningFailed: it is not trained here, or not now.
            StoreError, UnknownTask, UnknownFeatures, AmbiguousFeatures, UnknownHead, UnknownAlias, UnknownVersion: what
                the request names does not exist.
            RemoteProblem: the error of the training.
        """
        start = time.monotonic()
        await run_in_threadpool(self._require_possible, body)
        try:
            async with asyncio.timeout(self._settings.learn_seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise LearningBusy(self._settings.learn_seconds) from None
        try:
            deadline = time.monotonic() + self._settings.learn_seconds
            result = await run_in_threadpool(self.process.ask, body.model_dump(), deadline)
        finally:
            self._turn.release()
        return LearnResponse(**result, seconds=round(time.monotonic() - start, 3))

    def _require_available(self) -> None:
        """Raise LearningUnavailable unless this service can train and publish heads."""
        if find_spec("sklearn") is None:
            raise LearningUnavailable(
                "it needs scikit-learn, which is not installed here: pip install 'headwater[train]', or train where it "
                "is installed"
            )
        folder = self._settings.heads.absolute()
        there = next(each for each in (folder, *folder.parents) if each.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise LearningUnavailable(
                "the folder of heads cannot be written: mend its rights, or train where it can be"
            )

    def _require_possible(self, body: LearnRequest) -> None:
        self._require_available()
        store = self._known.store()
        if body.task not in (tasks := store.labels.tasks()):
            raise UnknownTask(shortened(body.task), list(tasks))
        if body.encoder is not None:
            store.features(body.encoder)
        if body.against is not None:
            self._registry.path(f"{body.name}@{body.against}")

    def _tasks(self, store: Store) -> list[LearnableTask]:
        """Return all tasks, without their heads. They are looked at again once a table has changed."""
        versions = store.snapshot().versions
        if self._seen[0] != versions or not versions:
            self._seen = versions, [_learnable(store, task) for task in store.labels.tasks()]
        return self._seen[1]

    def _latest(self) -> Iterator[PublishedHead]:
        """Yield the latest version of every head that can be loaded."""
        for name in self._registry.names():
            try:
                yield self._known.head(name)
            except (BadArtifact, LookupError):
                continue


def _learnable(store: Store, task: str) -> LearnableTask:
    rows = store.labels.get(task)
    encoders = [each.name for each in with_vectors(store, rows)]
    return LearnableTask(name=task, encoders=encoders, kinds=list(LEARNABLE[targets(rows)]), current=None)


def _current(heads: list[PublishedHead], task: str) -> CurrentHead | None:
    """Return the head of a task that was trained last; None without any. Versions begin with their time."""
    found = max((each for each in heads if each.manifest.task == task), key=lambda each: each.version, default=None)
    if found is None:
        return None
    encoders = [each.name for each in found.manifest.encoders]
    return CurrentHead(name=found.name, version=found.version, kind=found.head.kind, encoders=encoders)
