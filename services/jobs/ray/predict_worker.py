"""The worker of a distributed prediction, one in every actor: it reads shares of the rows and returns predictions."""

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import pyarrow as pa

from classifiers.published import artifact
from classifiers.published.head import PublishedHead
from embedder import folders
from services.jobs.errors import EXPECTED, WorkerFailed
from services.jobs.predict.answers import Answered, PredictRequest, in_threads
from services.jobs.predict.parts import Opener, Rows
from services.jobs.predict.tables import schema_of
from services.jobs.ray.worker import unreachable
from services.web.release import own_version
from store import Quarantined
from store.errors import NoStore


@dataclass(frozen=True, slots=True)
class PublishedFiles:
    """A published head as the content of its files. Workers check its digest, and need no folder of heads.

    Attributes:
        files: content by name, the manifest included.
    """

    name: str
    version: str
    files: Mapping[str, bytes]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the head in a version folder. Raises BadArtifact."""
        names = [artifact.MANIFEST, *artifact.read_manifest(folder).files]
        return cls(folder.parent.name, folder.name, {name: (folder / name).read_bytes() for name in names})

    def load(self) -> PublishedHead:
        """Return the head. Raises BadArtifact if the content is not that of the version."""
        with TemporaryDirectory() as root:
            folder = Path(root) / self.name / self.version
            folders.write_whole(folder, self.files)
            return artifact.load(folder)


@dataclass(frozen=True, slots=True)
class Work:
    """The arguments that all shares have in common.

    Attributes:
        release: version of Headwater that plans the job. A worker with another one could give other answers.
    """

    opener: Opener[Any]
    head: PublishedFiles
    request: PredictRequest
    threads: int
    release: str


@dataclass(frozen=True, slots=True)
class Done:
    """The predictions of one share.

    Attributes:
        data: the record batches of all parts as an Arrow stream, which holds the names of the classes once.
        parts: (number of batches, rows of the source, failed files) of each part.
        host: name of the worker's machine.
        problem: why the share was not predicted; empty if it was.
    """

    data: bytes = b""
    parts: list[tuple[int, int, list[Quarantined]]] = field(default_factory=list)
    host: str = field(default_factory=socket.gethostname)
    problem: str = ""

    @classmethod
    def of(cls, answers: list[Answered], schema: pa.Schema) -> Self:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            for answered in answers:
                for batch in answered.batches:
                    writer.write_batch(batch)
        parts = [(len(answered.batches), answered.source_rows, answered.failed) for answered in answers]
        return cls(sink.getvalue().to_pybytes(), parts)

    def answers(self) -> Iterator[Answered]:
        """Yield the predictions of each part."""
        with pa.ipc.open_stream(self.data) as batches:
            for count, source_rows, failed in self.parts:
                yield Answered([batches.read_next_batch() for _ in range(count)], source_rows, failed)


class Predictor:
    """It opens the rows and loads the head for its first share. An encoder is loaded when a file needs it."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._opened: tuple[Rows[Any], PublishedHead] | None = None

    def ready(self) -> None:
        """Return when the worker runs: a cluster may have no room for it yet."""

    def answer(self, share: Any) -> Done:
        """Return the predictions of a share."""
        work = self._work
        try:
            rows, head = self._opened = self._opened or self._open()
            answers = list(in_threads(rows, rows.read(share), head, work.request, work.threads))
        except EXPECTED as error:
            return Done(problem=f"{error} (worker on {socket.gethostname()})")
        return Done.of(answers, schema_of(head))

    def _open(self) -> tuple[Rows[Any], PublishedHead]:
        work, release = self._work, own_version()
        if release != work.release:
            raise WorkerFailed(
                f"the worker has Headwater {release}, and the command {work.release}; install the same version on "
                "every node of the cluster"
            )
        head = work.head.load()
        try:
            return work.opener.open(head, work.threads), head
        except NoStore as error:
            raise unreachable(error) from error
