"""The job `import_vectors`: checks all rows of a source, and stores them as an encoder without a network.

The rows are checked while they are written, and no reader sees one before all were found good. The new vectors then
appear all at once: a killed import leaves at most assets without vectors, and the same import run again finishes the
work.
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import chain, compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedder import folders, registry
from embedder.spec import EncoderSpec, imported_spec
from services.jobs.errors import NameInUse, NothingInCommon, VectorsRefused
from services.jobs.import_vectors import labels as labelling
from services.jobs.import_vectors.labels import SecondFile
from services.jobs.import_vectors.names import Names
from services.jobs.import_vectors.sources import Chunk, Source
from services.jobs.progress import OnProgress, Step, ignore
from store import Features, Label, Store
from store.bulk import Bulk
from store.errors import BadSource, BadVectors, UnknownFeatures
from store.join import Positions
from store.rows import Column, encodable, local_path
from store.schema import ASSETS, NO_FILE, Dtype, now

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

LONGEST_SOURCE = 500
"""Most characters of the declared source."""

COMPARED_ROWS = 16384
"""Stored vectors that are read at a time to compare them with those of the file."""

ASSET_ROWS = 65536
"""Rows of a batch of new assets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """The parameters of an import.

    Attributes:
        name: name of the encoder that the vectors make.
        made_by: what made the vectors, as the user declares it; part of the encoder's identity.
        task: the task that gets the labels; None: labels are ignored.
        labels: a second file with the labels; None for a column of the source.
        add: store vectors beside those of the name even if the file repeats none of them.
    """

    name: str
    made_by: str = "not stated"
    task: str | None = None
    labels: SecondFile | None = None
    add: bool = False


@dataclass(slots=True)
class Imported:
    """The result.

    Attributes:
        fingerprint: identity of the encoder.
        dtype: how the numbers are stored.
        rows: rows of the source.
        new, known: vectors that the store did not have, and those that it had already.
        stored_files: rows that are the path or the name of a stored file.
        without_file: new assets that stand for a name whose file is not stored.
        labelled: labels that were new or changed.
        unlabelled: rows without a label, if there is a task.
        example: name of the first row that is no stored file.
        seconds: time until vectors and labels were stored.
        index_seconds: time to index and compact the store afterwards. A killed import lacks only that.
    """

    name: str
    fingerprint: str
    dim: int
    dtype: Dtype
    rows: int = 0
    new: int = 0
    known: int = 0
    stored_files: int = 0
    without_file: int = 0
    labelled: int = 0
    unlabelled: int = 0
    example: str | None = None
    seconds: float = 0.0
    index_seconds: float = 0.0


@dataclass(slots=True)
class _Found:
    """All that is remembered of the rows: ids and names, no vectors.

    Attributes:
        ids, known: ids of the rows without and with a stored vector.
        fresh: number of the first row of each chunk → True for its rows without a stored vector.
        names: name by id of rows that are no stored file.
    """

    ids: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    fresh: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)


def import_vectors(
    store: Store, source: Source, request: ImportRequest, on_progress: OnProgress[Step] = ignore
) -> Imported:
    """Store the vectors of `source`, and with a task their labels. The same import again changes nothing.

    Raises:
        NameInUse: the name belongs to another encoder, or to vectors that were declared differently.
        NothingInCommon: see `ImportRequest.add`.
        VectorsRefused: the file has another vector for an id than the stored one.
        BadVectors: a vector of another length, or with NaN or infinity.
        BadSource: a damaged file, a row without an id, an id that comes twice, a label or split that cannot be stored.
        FrozenSplit: a row of the task already has another split.
    """
    start = time.perf_counter()
    _require_name(request)
    spec = imported_spec(request.name, source.dim, source=request.made_by, schema=source.schema)
    with _one_at_a_time(store):
        stored = _stored(store, request.name, spec)
        dtype: Dtype = stored.dtype if stored else ("float16" if source.dtype == "float16" else "float32")
        done = Imported(request.name, spec.fingerprint, source.dim, dtype)
        _write(store, source, spec, request, stored, done, on_progress)
    if request.task is not None:
        done.labelled = store.labels.put(request.task, _labels(store, source, request))
    stored_at = time.perf_counter()
    on_progress(Step(done.rows, done.rows, "indexing for search"))
    store.optimize()
    done.seconds, done.index_seconds = stored_at - start, time.perf_counter() - stored_at
    return done


def _require_name(request: ImportRequest) -> None:
    if not NAME.fullmatch(request.name):
        raise VectorsRefused(
            f"{request.name[:100]!r} cannot be the name of an encoder; use 1 to 64 letters, digits, '.', '_' and '-'"
        )
    if registry.is_known(request.name):
        raise NameInUse(f"{request.name!r} is the name of an encoder with a network; choose another name")
    if not request.made_by.strip() or len(request.made_by) > LONGEST_SOURCE:
        raise VectorsRefused(f"the source must have 1 to {LONGEST_SOURCE} characters; name network and preprocessing")


def _one_at_a_time(store: Store) -> AbstractContextManager[None]:
    """Let imports into a local store take turns: each sees what the one before it stored."""
    folder = local_path(store.uri)
    return folders.lock(folder / ".importing.lock") if folder else nullcontext()


def _stored(store: Store, name: str, spec: EncoderSpec) -> Features | None:
    """Return the table of the encoder; None if it has no rows. Raises NameInUse for another one of this name."""
    for each in store.encoders():
        if each.name == name and each.fingerprint != spec.fingerprint:
            if not each.rows and not each.spec.has_network:  # a killed import left it
                store.drop_empty(store.features(each.fingerprint))
                continue
            if each.spec.has_network:
                raise NameInUse(f"{name!r} is the name of an encoder with a network; choose another name")
            raise NameInUse(
                f"{name!r} was declared as {each.spec.dim} numbers made by {each.spec.output!r}, with another "
                f"description of its file; now as {spec.dim} numbers made by {spec.output!r}. Import these vectors "
                "under another name, or declare them as before"
            )
    try:
        found = store.features(spec.fingerprint)
    except UnknownFeatures:
        return None
    if found.rows:
        return found
    store.drop_empty(found)  # a killed import left it, with files that nothing else removes soon
    return None


def _checked(
    store: Store,
    source: Source,
    request: ImportRequest,
    stored: Features | None,
    found: _Found,
    done: Imported,
    on_progress: OnProgress[Step],
) -> Iterator[tuple[list[str], NDArray[Any]]]:
    """Read and check every row. Yield the ids and vectors of those without a stored vector."""
    names, seen = Names(store, source.path.parent), dict[str, int]()
    have = Positions(stored.ids() if stored else pa.array([], pa.string()))
    for chunk in source.chunks():
        _require_finite(chunk, source.path, done.dtype)
        ids: list[str] = []
        for text, (id_, is_file) in zip(chunk.ids, names.ids(chunk.ids), strict=True):
            row = chunk.first + len(ids)
            if (before := seen.setdefault(id_, row)) != row:
                raise BadSource(f"{source.path}: rows {before:,} and {row:,} are both {text[:200]!r}; remove one")
            ids.append(id_)
            done.stored_files += is_file
            if not is_file and text != id_:
                found.names[id_] = encodable(text)
        fresh = have.of(pa.array(ids, pa.string())) < 0
        if request.task is not None:
            _check_labels(store, request, chunk, ids, source.path, done)
        done.rows += len(ids)
        found.fresh[chunk.first] = fresh
        some = list(compress(ids, fresh.tolist()))
        found.ids += some
        if len(some) < len(ids):
            found.known += compress(ids, (~fresh).tolist())
        on_progress(Step(done.rows, source.rows, "rows checked and written"))
        if some:
            yield some, chunk.vectors if len(some) == len(ids) else chunk.vectors[fresh]
    if not done.rows:
        raise BadSource(f"{source.path} has no rows")


def _require_finite(chunk: Chunk, path: Path, dtype: Dtype) -> None:
    """Raise BadVectors with the first row that has NaN, infinity, or a number too large for the table."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(chunk.vectors.sum(dtype=np.float32)) and chunk.vectors.dtype != np.float64:
            return  # the sum of anything with NaN or infinity is not finite
        good = np.isfinite(chunk.vectors.astype(dtype, copy=False)).all(axis=1)
    if not good.all():
        row = int(np.argmin(good))
        raise BadVectors(
            f"{path}: row {chunk.first + row:,} ({chunk.ids[row][:200]}) has NaN, infinity or a number beyond {dtype}"
        )


def _require_same(stored: Features, source: Source, found: _Found) -> None:
    """Raise VectorsRefused if a row has another vector than the stored one of its id. Both are streamed."""
    rest = np.empty((0, source.dim), np.float32)
    stream = (X for _, X in stored.stream(found.known, COMPARED_ROWS))
    for chunk in source.chunks():
        rows = np.flatnonzero(~found.fresh[chunk.first])
        while len(rest) < len(rows):
            rest = np.concatenate([rest, next(stream)])
        given = chunk.vectors[rows].astype(stored.dtype, copy=False).astype(np.float32, copy=False)
        other = np.flatnonzero((given != rest[: len(rows)]).any(axis=1))
        if other.size:
            row = int(rows[other[0]])
            raise VectorsRefused(
                f"{source.path}: row {chunk.first + row:,} ({chunk.ids[row][:200]}) has another vector than the one "
                f"that is stored as {stored.name!r}; the file has changed, or another network made it. Stored vectors "
                "never change, because heads were trained on them: import the file under another name"
            )
        rest = rest[len(rows) :]


def _labelled(request: ImportRequest, chunk: Chunk, path: Path) -> Iterator[labelling.Labelled]:
    return request.labels.of(chunk) if request.labels else labelling.own(chunk, path)


def _check_labels(
    store: Store, request: ImportRequest, chunk: Chunk, ids: Sequence[str], path: Path, done: Imported
) -> None:
    """Count rows without labels. Raises what `Labels.put` would raise."""
    pairs = zip(ids, _labelled(request, chunk, path), strict=True)
    rows = [Label(id_, labels, split) for id_, (labels, split) in pairs if labels is not None]
    store.labels.require(request.task or "", rows)
    done.unlabelled += len(ids) - len(rows)


def _labels(store: Store, source: Source, request: ImportRequest) -> Iterator[Label]:
    names, by = Names(store, source.path.parent), f"import of {source.path.name}"
    for chunk in source.chunks():
        pairs = zip(names.ids(chunk.ids), _labelled(request, chunk, source.path), strict=True)
        for (id_, _), (labels, split) in pairs:
            if labels is not None:
                yield Label(id_, labels, split, by)


def _write(
    store: Store,
    source: Source,
    spec: EncoderSpec,
    request: ImportRequest,
    stored: Features | None,
    done: Imported,
    on_progress: OnProgress[Step],
) -> None:
    """Store the new rows: assets before vectors, so that no reader sees a vector without its asset."""
    probe = np.empty((0, spec.dim), np.float32)  # no network can repeat it
    features = store.ensure_features(done.name, spec, probe, dtype=done.dtype)
    found, vectors, assets = _Found(), Bulk(features.table), Bulk(store.assets.table)
    rows = _checked(store, source, request, stored, found, done, on_progress)
    try:
        if first := next(rows, None):
            vectors.write(_batches(features, chain([first], rows)))
        done.known = len(found.known)
        if stored:
            _require_continued(stored, source, request, found)
        missing = _without_asset(store, found)
        done.without_file, done.example = (
            len(missing),
            next((found.names[id_] for id_ in missing if id_ in found.names), None),
        )
        assets.write(_asset_batches(missing, found.names))
        assets.commit(missing)
        done.new = vectors.commit(found.ids)
    finally:
        vectors.discard()
        assets.discard()
        store.drop_empty(features)


def _require_continued(stored: Features, source: Source, request: ImportRequest, found: _Found) -> None:
    """Raise NothingInCommon or VectorsRefused unless the file goes on with the stored vectors."""
    if found.known:
        _require_same(stored, source, found)
    elif not request.add:
        raise NothingInCommon(
            f"{stored.rows:,} vectors are stored as {request.name!r}, and none of them is in {source.path}, so "
            "nothing shows that the same network made both. If it did, say so; otherwise choose another name"
        )


def _without_asset(store: Store, found: _Found) -> list[str]:
    if not store.assets.count():
        return found.ids
    have = store.assets.exists(found.ids)
    return [id_ for id_ in found.ids if id_ not in have]


def _asset_batches(ids: Sequence[str], names: dict[str, str]) -> Iterator[pa.RecordBatch]:
    at = now()
    for start in range(0, len(ids), ASSET_ROWS):
        some = ids[start : start + ASSET_ROWS]
        same: dict[str, Any] = {"modality": NO_FILE, "media_type": "application/octet-stream", "added_at": at}
        columns: list[Column] = []
        for each in ASSETS:
            if each.name in ("id", "uri"):
                values = some if each.name == "id" else [names.get(id_, id_) for id_ in some]
                columns.append(pa.array(values, each.type))
            else:
                columns.append(pa.repeat(pa.scalar(same.get(each.name), each.type), len(some)))
        yield pa.RecordBatch.from_arrays(columns, schema=ASSETS)


def _batches(features: Features, rows: Iterable[tuple[list[str], NDArray[Any]]]) -> Iterator[pa.RecordBatch]:
    for ids, vectors in rows:
        yield from features.arrow(ids, vectors).to_batches()
