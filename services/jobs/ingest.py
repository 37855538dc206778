"""Ingest: files become assets with labels. What cannot be read goes to quarantine by its URI, and the rest goes on."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from embedder.errors import BadMedia
from embedder.media import inspect
from embedder.spec import Modality
from services.jobs.outcome import Outcome
from store import Asset, Item, Label, Quarantined, Store, asset_id

STAGE = "ingest"

CHUNK_BYTES = 64 * 2**20
CHUNK_ITEMS = 2_000
"""A commit holds at most about so much, whichever comes first: memory stays flat for large and small files."""


@dataclass(slots=True)
class Ingested(Outcome):
    """Counts of one ingest: assets that were new or known already, items with labels."""

    new: int = 0
    known: int = 0
    labelled: int = 0

    @property
    def items(self) -> int:
        return self.new + self.known + self.quarantined


def to_asset(data: bytes, uri: str, modality: Modality | None = None, *, inline: bool = True) -> Asset:
    """The asset of these bytes, of a picture or a sound judged by the header alone. Raises BadMedia."""
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
    on_progress: Callable[[Ingested], None] = lambda _: None,
) -> Ingested:
    """Store every item; with `task`, its labels too. Running it again changes nothing.

    Args:
        modality: of all items that do not say it themselves; None for what their first bytes say.

    With `reference` only the URI is kept, and the bytes are read from there when they are needed.
    """
    done, chunk, start = Ingested(), _Chunk(), time.perf_counter()
    for item in items:
        chunk.take(item, task, modality, inline=not reference)
        if chunk.full:
            chunk.write(store, task, done)
            chunk = _Chunk()
            done.seconds = time.perf_counter() - start
            on_progress(done)
    chunk.write(store, task, done)
    done.seconds = time.perf_counter() - start
    on_progress(done)
    return done


@dataclass(slots=True)
class _Chunk:
    """What one round of commits writes."""

    assets: list[Asset] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    failed: list[Quarantined] = field(default_factory=list)
    size: int = 0

    @property
    def full(self) -> bool:
        return self.size >= CHUNK_BYTES or len(self.assets) + len(self.failed) >= CHUNK_ITEMS

    def take(self, item: Item, task: str | None, modality: Modality | None, *, inline: bool) -> None:
        try:
            data = item.read()
            asset = to_asset(data, item.uri, item.modality or modality, inline=inline)
        except (BadMedia, OSError) as error:
            reason = error.reason if isinstance(error, BadMedia) else "unreadable"
            self.failed.append(Quarantined(key=item.uri, stage=STAGE, reason=reason, message=str(error)))
            return
        self.assets.append(asset)
        self.size += len(data)
        if task is not None and item.labels is not None:
            self.labels.append(Label(id=asset.id, labels=item.labels, split=item.split, source=item.uri))

    def write(self, store: Store, task: str | None, done: Ingested) -> None:
        """Assets first: a label is never seen before the asset that it belongs to."""
        if self.assets:
            added = store.assets.add(self.assets)
            done.new += added.new
            done.known += added.known
            store.quarantine.clear([asset.uri for asset in self.assets], STAGE)
        if task is not None and self.labels:
            done.labelled += store.labels.put(task, self.labels)
        if self.failed:
            store.quarantine.put(self.failed)
            done.failures.add(self.failed)
