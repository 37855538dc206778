"""The endpoints that show the whole store: its overview, and its rows as columns."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from services.classification.routes import Service
from services.classification.state import ClassificationService
from services.classification.view.axes import AxesKind
from services.classification.view.overview import NO_STORE, overview_of
from services.classification.view.rows import Asked, pack_rows
from services.classification.view.tables import Tables
from services.web.admission import reservation
from services.web.columns import PackedRows
from services.web.media_types import COLUMNS
from services.web.parameters import ParameterRoute
from services.web.schemas import MOST_NAME, OverviewResponse
from store import Store

router = APIRouter(prefix="/v1", route_class=ParameterRoute)


@router.get("/overview", summary="What the store has, in numbers: assets, tasks with their classes, encoders")
async def show_overview(service: Service) -> OverviewResponse:
    store = _store(service)
    return NO_STORE if store is None else await overview_of(service.view, await run_in_threadpool(Tables.of, store))


@router.get(
    "/rows",
    summary="All stored assets as columns of numbers: ids, labels, coordinates, the answers of a head",
    response_class=StreamingResponse,
    responses={200: {"content": {COLUMNS: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def read_rows(
    request: Request,
    service: Service,
    task: Annotated[
        str | None, Query(min_length=1, max_length=MOST_NAME, description="task of the labels and the splits")
    ] = None,
    encoder: Annotated[
        str | None,
        Query(
            max_length=MOST_NAME,
            description="name or fingerprint of the encoder of `vector`, `x` and `y`; default: the head's",
        ),
    ] = None,
    head: Annotated[
        str | None, Query(max_length=MOST_NAME, description="name, name@alias or name@version of the head that answers")
    ] = None,
    axes: Annotated[
        AxesKind | None,
        Query(description="axes of `x` and `y`: pca, which is the default, lda of a task, or umap if it is installed"),
    ] = None,
    columns: Annotated[
        list[str] | None, Query(description="columns separated by commas; default: all that the parameters allow")
    ] = None,
) -> StreamingResponse:
    published = None if head is None else (await service.heads([head]))[0]
    names = None if columns is None else ",".join(columns).split(",")
    asked = Asked(task, encoder, published, axes, names)
    packed = await pack_rows(service.view, _store(service), asked, reservation(request.scope))
    return StreamingResponse(_sent(packed), media_type=COLUMNS, headers={"Content-Length": str(packed.nbytes)})


def _store(service: ClassificationService) -> Store | None:
    """Return the store; None if the settings name none."""
    return service.store() if service.settings.store else None


async def _sent(packed: PackedRows) -> AsyncIterator[bytes]:
    """Yield the pieces without a thread: each is a copy of 256 KiB."""
    for piece in packed.pieces():
        yield piece
