"""The endpoint that stores files without embedding them. A backfill embeds them later."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from embedder.spec import Modality
from services.classification.routes import Service
from services.jobs.uploaded import judged, require_labels, store_files
from services.web.labelling import FilesLabels, FilesSplit, FilesTask, labelling
from services.web.parameters import ParameterRoute
from services.web.schemas import AssetsResponse
from services.web.uploads import FILES_BODY, READ_AS, read_uploads

router = APIRouter(prefix="/v1/files", route_class=ParameterRoute)


@router.post(
    "",
    summary="Store the files of a form, or the one that is the body, with their labels; a backfill embeds them",
    openapi_extra={"requestBody": {"content": FILES_BODY, "required": True}},
)
async def add_files(
    request: Request,
    service: Service,
    task: FilesTask = None,
    label: FilesLabels = None,
    split: FilesSplit = None,
    modality: Annotated[Modality | None, Query(description=READ_AS)] = None,
) -> AssetsResponse:
    labels, store = labelling(task, label, split), service.store()
    uploads = await read_uploads(request, service.settings.max_items, modality)

    def run() -> AssetsResponse:
        require_labels(store, labels)
        return store_files(store, judged(uploads), labels)

    return await run_in_threadpool(run)
