"""GET /v1/overview: what the store has, in numbers."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from services.classification.view.columns_cache import SharedResults
from services.classification.view.tables import Tables
from services.web.schemas import ClassCount, OverviewResponse, StoredEncoder, TaskOverview
from store import SPLITS, FeatureTable
from store.rows import Column, strings

ASSUMED_BYTES = 2**16
"""Memory that an overview is taken to need: its texts."""

NO_STORE = OverviewResponse(
    store=False, assets=0, modalities={}, quarantined=0, tasks=[], encoders=[], version="", version_without_labels=""
)
"""The answer of a service without a store, or whose store does not exist yet."""


@dataclass(frozen=True, slots=True)
class Overview:
    """An answer that can be kept."""

    response: OverviewResponse
    nbytes: int = ASSUMED_BYTES


async def overview_of(shared: SharedResults, tables: Tables) -> OverviewResponse:
    """Return the overview of the store at these versions."""
    if not tables:
        return NO_STORE
    digest = tables.digest()
    return (await shared.get(("overview", digest), _overview, tables, digest)).response


def _overview(tables: Tables, digest: str) -> Overview:
    store, snapshot = tables.store, tables.snapshot
    modalities = _modalities(tables)
    rows = store.labels.table.read(["task", "labels", "split"], version=snapshot.of(store.labels.table))
    response = OverviewResponse(
        store=True,
        assets=sum(modalities.values()),
        modalities=modalities,
        quarantined=store.quarantine.table.count(version=snapshot.of(store.quarantine.table)),
        tasks=tasks_of(rows),
        encoders=[_encoder(each) for each in store.encoders()],
        version=digest,
        version_without_labels=tables.digest(labels=False),
    )
    return Overview(response)


def _modalities(tables: Tables) -> dict[str, int]:
    """Return the number of assets of each modality, the most frequent first."""
    assets = tables.store.assets.table
    counts: Column = pc.value_counts(assets.read(["modality"], version=tables.snapshot.of(assets))["modality"])
    found = {pair["values"]: pair["counts"] for pair in counts.to_pylist()}
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def tasks_of(rows: pa.Table) -> list[TaskOverview]:
    """Return the tasks, sorted by name, from the rows (task, labels, split) of all."""
    encoded: Column = rows["task"].combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    names = strings(encoded.dictionary)
    order = sorted(range(len(names)), key=names.__getitem__)
    return [_task(names[code], rows.filter(pa.array(codes == code))) for code in order]


def _task(name: str, rows: pa.Table) -> TaskOverview:
    labels: Column = rows["labels"].combine_chunks()
    split: Column = pc.index_in(rows["split"].combine_chunks(), value_set=pa.array(SPLITS, pa.string()))
    splits = pc.fill_null(split, len(SPLITS)).to_numpy(zero_copy_only=False)
    encoded: Column = labels.flatten().dictionary_encode()
    lengths = pc.list_value_length(labels).to_numpy(zero_copy_only=False)
    cells = encoded.indices.to_numpy(zero_copy_only=False) * (len(SPLITS) + 1) + np.repeat(splits, lengths)
    table = np.bincount(cells, minlength=len(encoded.dictionary) * (len(SPLITS) + 1)).reshape(-1, len(SPLITS) + 1)
    classes = [
        ClassCount(name=label, **dict(zip((*SPLITS, "none"), counts, strict=True)))
        for label, counts in zip(strings(encoded.dictionary), table.tolist(), strict=True)
    ]
    classes.sort(key=lambda each: (-each.count, each.name))
    return TaskOverview(name=name, labelled=rows.num_rows, many=bool((lengths > 1).any()), classes=classes)


def _encoder(table: FeatureTable) -> StoredEncoder:
    spec = table.spec
    return StoredEncoder(
        name=table.name,
        fingerprint=table.fingerprint,
        rows=table.rows,
        dimension=spec.dim,
        modalities=list(spec.modalities),
        network=spec.has_network,
        texts=spec.text is not None,
    )
