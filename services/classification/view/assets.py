"""The endpoints for stored assets: thumbnails, the sound of a sound, and all that is known of an asset."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from classifiers.errors import BadArtifact, UnknownAlias, UnknownHead, UnknownVersion
from classifiers.published.membership import saw
from classifiers.published.registry import Registry
from services.classification.routes import Service
from services.classification.view.pictures import JPEG, PNG, SOUND_BYTES, WAV, Picture, to_wav
from services.classification.view.thumbnails import shown
from services.web.admission import reservation
from services.web.error_answers import problem
from services.web.errors import NotShown
from services.web.framing import framed
from services.web.media_types import THUMBNAILS
from services.web.parameters import ParameterRoute
from services.web.quoting import shortened
from services.web.schemas import AssetDetails, Name, Side, TaskLabels, ThumbnailsRequest
from store import Store

router = APIRouter(prefix="/v1", route_class=ParameterRoute)

DRAWING = 1
"""Number of the way in which pictures are drawn. It goes up with a change that browsers should see."""

NOSNIFF = {"X-Content-Type-Options": "nosniff"}
"""With this header, no browser takes bytes for another type than the one that the answer names."""

HEADERS = {**NOSNIFF, "Cache-Control": "private, max-age=31536000, immutable"}
"""Headers of what is made of one file. The id is the digest of the file, so it never changes."""


def _answers(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of the answers with bytes of these types, or 304."""
    return {
        200: {"content": {each: {"schema": {"type": "string", "format": "binary"}} for each in media_types}},
        304: {"description": "The ETag is the one in If-None-Match."},
    }


@router.post(
    "/thumbnails",
    summary="Thumbnails of up to 256 stored assets in one answer",
    response_class=Response,
    responses={200: _answers(THUMBNAILS)[200]},
)
async def draw_thumbnails(body: ThumbnailsRequest, service: Service, request: Request) -> Response:
    """The body is the length of a JSON header, the header, and the pictures; see the documentation."""
    reservation(request.scope).add(len(body.ids) * body.size**2)  # JPEGs have less than a byte for each pixel
    found = await service.thumbnails.of(body.ids, body.size)
    drawn = [(id_, found[id_]) for id_ in body.ids]
    pictures = [each.data for _, each in drawn if isinstance(each, Picture)]
    answer = framed({"items": [_item(*each) for each in drawn]}, pictures)
    return Response(answer, media_type=THUMBNAILS, headers=NOSNIFF)


@router.get(
    "/assets/{id}/thumbnail",
    summary="A picture of a stored asset: a photo, a frame, or a drawing of a sound or of measurements",
    response_class=Response,
    responses=_answers(JPEG, PNG),
)
async def draw_thumbnail(
    id: Name,
    request: Request,
    service: Service,
    size: Annotated[Side, Query(description="Long side of the picture in pixels. No picture is enlarged.")] = 256,
) -> Response:
    etag = f'"{id}-{size}-{DRAWING}"'
    if _has(request, etag):
        return Response(status_code=304, headers={**HEADERS, "ETag": etag})
    reservation(request.scope).add(size**2)
    picture = shown((await service.thumbnails.of([id], size))[id])
    return Response(picture.data, media_type=picture.media_type, headers={**HEADERS, "ETag": etag})


@router.get(
    "/assets/{id}/sound",
    summary="The first minute of a stored sound as WAV, one channel of 16 bits",
    response_class=Response,
    responses=_answers(WAV),
)
async def play_sound(id: Name, request: Request, service: Service) -> Response:
    etag = f'"{id}-sound-{DRAWING}"'
    if _has(request, etag):
        return Response(status_code=304, headers={**HEADERS, "ETag": etag})
    reservation(request.scope).add(SOUND_BYTES)
    limits = service.settings.limits
    sound = await service.thumbnails.read(id, lambda _, data, reserve: to_wav(data, limits, reserve))
    return Response(sound, media_type=WAV, headers={**HEADERS, "ETag": etag})


@router.get("/assets/{id}", summary="All that is known of a stored asset: its file, its labels, the heads it taught")
async def show_asset(id: Name, service: Service) -> AssetDetails:
    size = None
    with suppress(NotShown):
        size = await service.thumbnails.read(id, lambda _, data, __: len(data))
    return await run_in_threadpool(_details, service.store(), service.registry, id, size)


def _details(store: Store, registry: Registry, id_: str, size: int | None) -> AssetDetails:
    [asset] = store.assets.get([id_])
    labels = [row for row in store.labels.of(id_) if row.until is None]
    return AssetDetails(
        **{
            name: getattr(asset, name) for name in ("id", "uri", "modality", "media_type", "width", "height", "seconds")
        },
        bytes=size,
        labels=[TaskLabels(**{name: getattr(row, name) for name in TaskLabels.model_fields}) for row in labels],
        heads=list(_taught(registry, id_)),
    )


def _taught(registry: Registry, id_: str) -> Iterator[str]:
    """Yield each head, as name@version, that learned from an asset: latest versions and those with an alias."""
    for name in registry.names():
        with suppress(BadArtifact, UnknownHead, UnknownAlias, UnknownVersion):  # removed meanwhile, or damaged
            for version in sorted(set(registry.aliases(name).values())):
                reference = f"{name}@{version}"
                if saw(registry.path(reference), [id_])[id_] == "yes":
                    yield reference


def _item(id_: str, drawn: Picture | Exception) -> dict[str, Any]:
    """Return the item of the header for a picture, or for the reason why there is none."""
    if isinstance(drawn, Picture):
        size = {"bytes": len(drawn.data), "width": drawn.width, "height": drawn.height}
        return {"id": id_, "type": drawn.media_type, **size}
    return {"id": shortened(id_), "error": problem(drawn).model_dump()}


def _has(request: Request, etag: str) -> bool:
    """Return True if the client has what it asks for already."""
    given = request.headers.get("if-none-match", "").split(",")
    return etag in (each.strip().removeprefix("W/") for each in given)
