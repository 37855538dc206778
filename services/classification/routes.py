"""Endpoints of the classification service. They catch no errors: `services.web.errors` has one table of all answers."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from classifiers.evaluation.conformal import Sets
from classifiers.published.head import PublishedHead
from embedder.spec import Modality
from services.classification import media, reports, search, vectors
from services.classification.answers import Options, answer
from services.classification.readiness import Capability
from services.classification.state import ClassificationService
from services.classification.texts import parse_labels
from services.web.media_types import JSON
from services.web.parameters import BODY, ParameterRoute
from services.web.quoting import file_name
from services.web.schemas import (
    MOST_NAME,
    AliasRequest,
    Base64Image,
    ClassifyBody,
    ClassifyResponse,
    HeadsResponse,
    Name,
    SearchResponse,
    SplitName,
    inline_schema,
)
from services.web.uploads import FILES_BODY, IMAGE_BODY, READ_AS, check_count, read_uploads
from services.web.wire import Upload, decode_base64

router = APIRouter(route_class=ParameterRoute)


async def _service(request: Request) -> ClassificationService:
    service: ClassificationService = request.app.state.service
    return service


MOST_HEADS = 64
"""Largest number of heads of one request."""

Service = Annotated[ClassificationService, Depends(_service)]
HeadRefs = Annotated[
    list[Name] | None,
    Query(max_length=MOST_HEADS, description="name, name@alias or name@version of a head; repeat it for several heads"),
]
MAX_OUTLIER = "abstain above this outlier percentile, the percentage of calibration rows that look more ordinary"
HowMany = Annotated[int, Query(ge=1, le=1000)]


@router.post(
    "/classify",
    summary="Answers of one or more heads for files (a form, or one file), or for files, ids or vectors as JSON",
    openapi_extra={
        "requestBody": {
            "content": FILES_BODY | {JSON: {"schema": inline_schema(ClassifyBody)}},
            "required": True,
        }
    },
    response_model_exclude_none=True,
)
async def classify(
    request: Request,
    service: Service,
    head: HeadRefs = None,
    top_k: HowMany = 5,
    coverage: Annotated[
        float, Query(gt=0, lt=1, description="probability that the prediction set contains the true class")
    ] = 0.9,
    sets: Annotated[
        Sets,
        Query(description="method of the prediction set: lac is smallest on average, aps grows with uncertainty"),
    ] = "lac",
    min_probability: Annotated[
        float | None, Query(ge=0, le=1, description="abstain if the probability is below this value")
    ] = None,
    max_outlier: Annotated[float | None, Query(ge=0, le=100, description=MAX_OUTLIER)] = None,
    labels: Annotated[
        list[str] | None, Query(description="labels separated by commas, instead of those of a head that knows texts")
    ] = None,
    modality: Annotated[Modality | None, Query(description=READ_AS)] = None,
) -> ClassifyResponse:
    heads = await service.heads(head or [])
    for published in heads:  # a refusal must not cost an embedding
        published.require_answerable(coverage=coverage, sets=sets, max_outlier=max_outlier)
    if labels is not None:
        heads = await service.texts.asked_for(heads, parse_labels(",".join(labels), service.settings.max_items))
    columns = await _vectors(request, service, heads, modality, all_steps=max_outlier is not None)
    options = Options(top_k, coverage, sets, min_probability, max_outlier)
    items = await run_in_threadpool(answer, columns, heads, options, service.metrics)
    for item in items:
        service.metrics.item(item.error.code if item.error else "ok")
    return ClassifyResponse(items=items)


async def is_ready(  # GET /health/ready, see `create_app`
    service: Service,
    needs: Annotated[
        list[Capability], Query(description="answer 503 unless this is ready too; repeat it for several")
    ] = [],  # noqa: B006 - never changed
) -> JSONResponse:
    ready, details = await service.ready(needs)
    return JSONResponse({"ready": ready, **details}, status_code=200 if ready else 503)


@router.get("/heads", summary="All heads with their versions and aliases, and the reasons why others were refused")
async def list_heads(service: Service) -> HeadsResponse:
    return await run_in_threadpool(service.catalogue)


@router.get("/heads/{name}", summary="The manifest of a head's latest version")
async def show_head(name: Name, service: Service) -> dict[str, Any]:
    [head] = await service.heads([name])
    return {"name": head.name, "version": head.version, "manifest": head.manifest.model_dump(mode="json")}


@router.get(
    "/heads/{name}/report",
    summary="The report on the training of one version of a head",
    response_model=dict[str, Any],
)
async def show_report(
    name: Name,
    service: Service,
    version: Annotated[
        str, Query(max_length=MOST_NAME, description="a version, or an alias such as production")
    ] = "latest",
) -> Response:
    return Response(await run_in_threadpool(reports.report, service, name, version), media_type=JSON)


@router.post("/heads/{name}/alias", summary="Point an alias at a version")
async def set_alias(name: Name, body: AliasRequest, service: Service) -> HeadsResponse:
    await run_in_threadpool(service.registry.promote, name, body.alias, body.version)
    return await run_in_threadpool(service.catalogue)


SearchedTask = Annotated[str | None, Query(max_length=MOST_NAME, description="only assets that this task labels")]
SearchedLabel = Annotated[str | None, Query(max_length=MOST_NAME, description="only assets with this label")]
SearchedSplit = Annotated[SplitName | None, Query(description="only assets in this split of the task")]
SearchedEncoder = Annotated[
    str | None,
    Query(
        max_length=MOST_NAME,
        description="name or fingerprint of an encoder with stored vectors; default: the best one for the query",
    ),
]


@router.get("/search", summary="Stored assets nearest to a stored one, or to a text", response_model_exclude_none=True)
async def search_by_id_or_text(
    service: Service,
    encoder: SearchedEncoder = None,
    id: Annotated[str | None, Query(description="id of a stored asset")] = None,
    text: Annotated[str | None, Query(description="description of what to look for")] = None,
    k: HowMany = 10,
    task: SearchedTask = None,
    label: SearchedLabel = None,
    split: SearchedSplit = None,
) -> SearchResponse:
    return await search.by_id_or_text(service, encoder, id, text, k, search.Within(task, label, split))


@router.post(
    "/search",
    summary="Stored assets nearest to the image sent",
    openapi_extra={"requestBody": {"content": IMAGE_BODY, "required": True}},
    response_model_exclude_none=True,
)
async def search_by_image(
    request: Request,
    service: Service,
    encoder: SearchedEncoder = None,
    k: HowMany = 10,
    task: SearchedTask = None,
    label: SearchedLabel = None,
    split: SearchedSplit = None,
) -> SearchResponse:
    uploads = await read_uploads(request, service.settings.max_items)
    return await search.by_image(service, encoder, uploads, k, search.Within(task, label, split))


async def _vectors(
    request: Request,
    service: ClassificationService,
    heads: Sequence[PublishedHead],
    modality: Modality | None,
    *,
    all_steps: bool,
) -> vectors.Columns:
    limit = service.settings.max_items
    body: ClassifyBody | None = request.scope.get(BODY)
    if body is None:
        uploads = await read_uploads(request, limit, modality)
        return await media.of_media(service, uploads, heads, all_steps=all_steps)
    check_count(body.count, limit)
    if body.files is not None:
        uploads = await run_in_threadpool(_decoded, body.files, modality)
        return await media.of_media(service, uploads, heads, all_steps=all_steps)
    if body.ids is not None:
        return await vectors.of_ids(service, body.ids, heads)
    return await vectors.of_request(service, body.vectors or (), body.encoder or "", heads)


def _decoded(images: Sequence[Base64Image], modality: Modality | None) -> list[Upload]:
    return [decode_base64(image.base64, file_name(image.name), modality) for image in images]
