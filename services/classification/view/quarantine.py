"""The endpoint that lists what could not be processed."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from services.classification.routes import Service
from services.web.access.paths import cutting
from services.web.parameters import ParameterRoute
from services.web.schemas import QuarantinedItem, QuarantineResponse
from store import Quarantined

router = APIRouter(prefix="/v1/quarantine", route_class=ParameterRoute)


@router.get("", summary="Files and assets that could not be processed, in pages")
async def list_quarantined(
    service: Service,
    start: Annotated[int, Query(ge=0, le=2**40, description="Number of items to skip.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Largest number of items of the answer.")] = 100,
) -> QuarantineResponse:
    """The answer has no path of the server, whatever the role of the key: of a file it has the name."""
    store, cut = service.store(), cutting(service.settings)
    count, rows = await run_in_threadpool(lambda: store.quarantine.page(start=start, rows=limit))
    return QuarantineResponse(count=count, items=[_item(row, cut) for row in rows])


def _item(row: Quarantined, cut: Callable[[str], str]) -> QuarantinedItem:
    name = row.key.rpartition("/")[2]
    message = cut(row.message.replace(row.key, name))
    return QuarantinedItem(name=name, stage=row.stage, reason=row.reason, message=message)
