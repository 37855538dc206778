"""Ingest: store files as assets, with their labels. A file that cannot be read goes to quarantine under its URI."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from embedder.errors import BadMedia
from embedder.media import inspect
from embedder.spec import Modality
from services.jobs.progress import OnProgress, Outcome, ignore
from store import Asset, Item, Label, Quarantined, Store, asset_id
from store.errors import BadFile
from store.rows import encodable
from store.schema import now

STAGE = "ingest"
"""Stage of a quarantined file, as the store records it."""

CHUNK_BYTES = 64 * 2**20
CHUNK_ITEMS = 2_000
"""A commit is written at the first of these limits. Memory stays flat, whether the files are large or small."""


@dataclass(slots=True)
class Ingested(Outcome):
    """Counts of one ingest.

    Attributes:
        new: assets that the store did not have.
        known: assets that the store had already.
        labelled: labels that were new or changed.
    """

    new: int = 0
    known: int = 0
    labelled: int = 0

    @property
    def handled(self) -> int:
        return self.new + self.known + self.quarantined

    @property
    def total(self) -> None:
        """None: the number of files is unknown, because they are read as they are found."""

    @property
    def note(self) -> str:
        return f"{self.quarantined} quarantined"


def to_asset(data: bytes, uri: str, modality: Modality | None = None, *, inline: bool = True) -> Asset:
    """Return the asset of a file's bytes. Images, sounds and videos are judged by their header alone.

    Raises:
        BadMedia: no modality reads these bytes, or not `modality`.
    """
    info = inspect(data, modality)
    return Asset(
        id=asset_id(data),
        uri=uri,
        modality=info.modality,
        media_type=info.media_type,
        width=info.width,
        height=info.height,
        seconds=info.seconds,
        content=data if inline else None,
    )


def ingest(
    store: Store,
    items: Iterable[Item],
    *,
    task: str | None = None,
    modality: Modality | None = None,
    reference: bool = False,
    on_progress: OnProgress[Ingested] = ignore,
) -> Ingested:
    """Store every item and, with `task`, its labels. Run it again to add items or to change labels.

    Args:
        task: the task that the labels belong to; None: labels are ignored.
        modality: modality of the items that do not name their own; None: the first bytes of each item decide.
        reference: store the URI of each file only. The bytes are read from there when a job needs them.

    Raises FrozenSplit, BadSplit or BadLabels for labels that may not be stored. Chunks before the one with these labels
    stay, as after a kill; nothing of that chunk is stored.
    """
    done, chunk, start = Ingested(), _Chunk(now()), time.perf_counter()
    for item in items:
        chunk.take(item, task, modality, store.assets.max_file_bytes, inline=not reference)
        if chunk.full:
            chunk.write(store, task, done)
            chunk = _Chunk(chunk.at)
            done.seconds = time.perf_counter() - start
            on_progress(done)
    chunk.write(store, task, done)
    done.seconds = time.perf_counter() - start
    on_progress(done)
    store.optimize()
    return done


@dataclass(slots=True)
class _Chunk:
    """The items of one round of commits. All labels of an ingest have one time, `at`: they are one change."""

    at: datetime
    assets: list[Asset] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    failed: list[Quarantined] = field(default_factory=list)
    size: int = 0

    @property
    def full(self) -> bool:
        return self.size >= CHUNK_BYTES or len(self.assets) + len(self.failed) >= CHUNK_ITEMS

    def take(self, item: Item, task: str | None, modality: Modality | None, most: int, *, inline: bool) -> None:
        uri = encodable(item.uri)
        try:
            data = item.read(most)
            if not inline and uri != item.uri:
                raise BadFile("unreadable", f"the name of {uri} is not UTF-8, so no reference to it can be stored")
            # The bytes of a row of a Parquet file are in no file of their own that could be referred to.
            inline = inline or item.data is not None
            asset = to_asset(data, uri, item.modality or modality, inline=inline)
        except Exception as error:  # whatever a decoder raises concerns this item alone
            reason = error.reason if isinstance(error, BadMedia | BadFile) else "unreadable"
            self.failed.append(Quarantined(key=uri, stage=STAGE, reason=reason, message=encodable(str(error))))
            return
        self.assets.append(asset)
        self.size += len(data) if inline else 0
        if task is not None and item.labels is not None:
            self.labels.append(Label(id=asset.id, labels=item.labels, split=item.split, source=uri, group=item.group))

    def write(self, store: Store, task: str | None, done: Ingested) -> None:
        """Check the labels, then write assets before labels: no reader sees a label without its asset.

        Raises BadLabels, BadSplit and FrozenSplit before anything of this chunk is written.
        """
        if task is not None and self.labels:
            store.labels.require(task, self.labels)
        if self.assets:
            added = store.assets.add(self.assets)
            done.new += added.new
            done.known += added.known
            store.quarantine.clear([asset.uri for asset in self.assets], STAGE)
        if task is not None and self.labels:
            done.labelled += store.labels.put(task, self.labels, at=self.at)
        if self.failed:
            store.quarantine.put(self.failed)
            done.failures.add(self.failed)


def read_id(item: Item, modality: Modality | None, most: int) -> str | None:
    """Return the asset id of an item, or None if `ingest` would put it into quarantine.

    Args:
        most: largest file that is read, in bytes.
    """
    try:
        return to_asset(item.read(most), item.uri, item.modality or modality, inline=False).id
    except Exception:  # `ingest` reads it again, and records why it failed
        return None
