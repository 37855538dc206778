"""The endpoints of both services for labels of stored assets: list, set, remove, history, undo."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request
from starlette.concurrency import run_in_threadpool

from services.web import app
from services.web.json_bodies import JsonRoute
from services.web.schemas import (
    MOST_NAME,
    HistoryResponse,
    LabelledAsset,
    LabelsChanged,
    LabelsRequest,
    LabelsResponse,
    Name,
    SplitName,
    UndoRequest,
    UndoResponse,
)
from store import Label, Store
from store.errors import StoreError, UnknownId
from store.schema import LabelRow, now
from store.tables.undo import undo

log = logging.getLogger("headwater.labels")

router = APIRouter(prefix="/v1/labels", route_class=JsonRoute)

MOST_ROWS = 1000
"""Largest number of rows of one answer."""

MOST_IDS = 100
"""Largest number of assets whose labels one request removes."""

COMPACT_EVERY = 64
"""Number of versions of the table after which it is compacted. Each change makes a version and a small fragment, and
with 500 of them the next change takes five times as long."""

SOURCE = "http"
"""Source of changes that requests without a source make."""


async def _service(request: Request) -> app.Service:
    service: app.Service = request.app.state.service
    return service


Service = Annotated[app.Service, Depends(_service)]
Task = Annotated[str, Query(min_length=1, max_length=MOST_NAME, description="The task.")]
AnyTask = Annotated[
    str | None, Query(min_length=1, max_length=MOST_NAME, description="Only this task; without it, all tasks.")
]
AssetId = Annotated[str, Query(min_length=1, max_length=MOST_NAME, description="Id of a stored asset.")]


@router.get("", summary="The labels of a task, in pages")
async def list_labels(
    service: Service,
    task: Task,
    label: Annotated[str | None, Query(max_length=MOST_NAME, description="Only assets with this label.")] = None,
    split: Annotated[SplitName | None, Query(description="Only assets in this split.")] = None,
    start: Annotated[int, Query(ge=0, le=2**40, description="Number of matching rows to skip.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS, description="Largest number of rows of the answer.")] = 100,
) -> LabelsResponse:
    def read() -> tuple[int, list[LabelRow]]:
        return service.store().labels.page(task, label=label, split=split, start=start, rows=limit)

    count, rows = await run_in_threadpool(read)
    return LabelsResponse(task=task, count=count, labels=_answers(rows))


@router.post("", summary="Set the labels of stored assets in a task; an asset keeps its split")
async def set_labels(body: LabelsRequest, service: Service, tasks: BackgroundTasks) -> LabelsChanged:
    rows = [Label(row.id, row.labels, row.split, body.source or SOURCE) for row in body.labels]
    store = service.store()
    tasks.add_task(_compact, store)
    return await run_in_threadpool(_set, store, body.task, rows)


@router.delete("", summary="Remove the labels of assets in a task; the assets stay")
async def remove_labels(
    service: Service,
    task: Task,
    id: Annotated[
        list[Name], Query(min_length=1, max_length=MOST_IDS, description="Ids of the assets; repeat for more.")
    ],
) -> LabelsChanged:
    at = now()
    removed = await run_in_threadpool(service.store().labels.remove, task, id, source=SOURCE, at=at)
    return LabelsChanged(task=task, changed=removed, at=at)


@router.get("/history", summary="All labels that an asset has and had, the oldest first")
async def read_history(service: Service, id: AssetId, task: AnyTask = None) -> HistoryResponse:
    def read() -> list[LabelRow]:
        store = service.store()
        _require_stored(store, [id])
        return store.labels.of(id, task)

    return HistoryResponse(id=id, history=_answers(await run_in_threadpool(read)))


@router.post("/undo", summary="Take the last change of labels back")
async def undo_labels(body: UndoRequest, service: Service) -> UndoResponse:
    done = await run_in_threadpool(undo, service.store().labels, body.task, at=body.at)
    return UndoResponse(
        at=done.at, tasks=list(done.tasks), sources=list(done.sources), restored=done.restored, removed=done.removed
    )


def _compact(store: Store) -> None:
    """Compact the tables of labels at every `COMPACT_EVERY`-th version. A failure is logged: the change is stored."""
    try:
        if (store.labels.table.version() or 1) % COMPACT_EVERY == 0:
            store.labels.compact()
    except StoreError as error:
        log.warning("labels not compacted", extra={"reason": str(error)})


def _set(store: Store, task: str, rows: Sequence[Label]) -> LabelsChanged:
    _require_stored(store, [row.id for row in rows])
    at: datetime = now()
    return LabelsChanged(task=task, changed=store.labels.put(task, rows, at=at), at=at)


def _require_stored(store: Store, ids: Sequence[str]) -> None:
    if missing := set(ids) - store.assets.exists(ids):
        raise UnknownId(sorted(missing))


def _answers(rows: Sequence[LabelRow]) -> list[LabelledAsset]:
    names = LabelledAsset.model_fields
    return [LabelledAsset(**{name: getattr(row, name) for name in names}) for row in rows]
