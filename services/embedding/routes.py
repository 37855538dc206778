"""The endpoints of the embedding service. They catch no errors: `services.web.errors` has one table of all answers."""

import base64
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from embedder.engines.backend import Backend
from embedder.spec import Modality
from services.embedding.encoders import Held
from services.embedding.state import EmbeddingService
from services.embedding.storing import store_uploads
from services.embedding.worker import EncoderWorker
from services.jobs.backfill.local import backfill
from services.web.access.paths import cutting
from services.web.errors import BadRequest, NotOffered
from services.web.labelling import FilesLabels, FilesSplit, FilesTask, labelling
from services.web.parameters import ParameterRoute
from services.web.schemas import (
    MOST_NAME,
    AssetsResponse,
    BackfillRequest,
    BackfillsResponse,
    BackfillStatus,
    EmbeddedItem,
    EmbedResponse,
    EncoderInfo,
    EncoderRequest,
    Name,
    OpenAIItem,
    OpenAIModel,
    OpenAIModels,
    OpenAIRequest,
    OpenAIResponse,
)
from services.web.uploads import FILES_BODY, READ_AS, check_count, read_uploads
from services.web.wire import ARROW_STREAM, Vectored, decode_base64, is_data_uri, require_no_url, to_arrow

router = APIRouter(prefix="/v1", route_class=ParameterRoute)


async def _service(request: Request) -> EmbeddingService:
    service: EmbeddingService = request.app.state.service
    return service


Service = Annotated[EmbeddingService, Depends(_service)]
EncoderName = Annotated[str, Query(max_length=MOST_NAME, description="Name or fingerprint of a loaded encoder.")]
TOKENS = (
    "Answer with all tokens of each image, one after the other, and not its vector. Tokens are the vectors that the "
    "encoder has for the parts of an image. They are sent as Arrow, whatever Accept says."
)
ReadAs = Annotated[Modality | None, Query(description=READ_AS)]


@router.get("/encoders", summary="Every encoder that was asked for, with its state")
async def list_encoders(service: Service) -> list[EncoderInfo]:
    cut = cutting(service.settings)  # the name of a checkpoint can be a path, which a key must not see before it loads
    shown = [_shown(held, service) for held in service.encoders.all()]
    return [each if each.fingerprint else each.model_copy(update={"name": cut(each.name)}) for each in shown]


@router.post("/encoders", status_code=202, summary="Load an encoder in the background; repeating this is harmless")
async def load_encoder(body: EncoderRequest, service: Service) -> EncoderInfo:
    return _shown(service.encoders.ask(body.name), service)


@router.delete("/encoders/{name:path}", summary="Answer what waits for an encoder, then free its memory")
async def unload_encoder(name: Name, service: Service) -> EncoderInfo:
    return _shown(await service.encoders.remove(name), service)


@router.post(
    "/embed",
    summary="Embed the files of a form, or one file; the answer is JSON, or Arrow if Accept asks for it",
    response_model=EmbedResponse,
    openapi_extra={"requestBody": {"content": FILES_BODY, "required": True}},
    responses={200: {"content": {ARROW_STREAM: {}}}},
)
async def embed(
    request: Request,
    service: Service,
    encoder: EncoderName = "lite0",
    tokens: Annotated[bool, Query(description=TOKENS)] = False,
    modality: ReadAs = None,
) -> Response:
    worker, arrow = service.worker(encoder), tokens or ARROW_STREAM in request.headers.get("accept", "").lower()
    width = worker.width(tokens=tokens)
    uploads = await read_uploads(request, service.settings.max_items, modality)
    batch = await service.embed(uploads, encoder=encoder, tokens=tokens)
    if arrow:
        return Response(to_arrow(batch, width), media_type=ARROW_STREAM)
    answer = EmbedResponse(
        encoder=batch.encoder, fingerprint=batch.fingerprint, items=[_as_json(item) for item in batch.items]
    )
    return Response(answer.model_dump_json(exclude_none=True), media_type="application/json")


@router.get("/models", summary="The encoders that are loaded, as OpenAI's API lists models")
async def list_models(service: Service) -> OpenAIModels:
    return OpenAIModels(data=[OpenAIModel(id=worker.encoder.name) for worker in service.workers.values()])


@router.get("/models/{name:path}", summary="One encoder that is loaded, as OpenAI's API shows a model")
async def show_model(name: Name, service: Service) -> OpenAIModel:
    return OpenAIModel(id=service.worker(name).encoder.name)


@router.post("/embeddings", summary="Embed texts, or files as data URIs; request and answer as in OpenAI's API")
async def openai_embeddings(body: OpenAIRequest, service: Service) -> OpenAIResponse:
    worker = service.worker(body.model)
    if body.dimensions not in (None, dim := worker.encoder.spec.dim):
        raise NotOffered(
            f"vectors of {worker.encoder.name} have a fixed length of {dim} dimensions, not {body.dimensions}: the "
            "encoder was not trained so that a beginning of its vectors can stand for them (Matryoshka); leave "
            "dimensions out"
        )
    inputs = [body.input] if isinstance(body.input, str) else body.input
    check_count(len(inputs), service.settings.max_items)
    files = [is_data_uri(text) for text in inputs]
    if any(files) and not all(files):
        raise BadRequest("texts and data URIs in one input; send them in separate requests")
    if files[0]:
        items = await worker.embed_files(await run_in_threadpool(lambda: [decode_base64(uri) for uri in inputs]))
    else:
        require_no_url(inputs)
        vectors = await service.embed_texts(inputs, encoder=body.model)
        items = [Vectored(None, None, vector) for vector in vectors]
    data = [_as_openai(i, item, body.encoding_format) for i, item in enumerate(items)]
    return OpenAIResponse(model=worker.encoder.name, data=data)


@router.post(
    "/assets",
    summary="Store the files of a form, or the one that is the body, with their labels, and embed them",
    openapi_extra={"requestBody": {"content": FILES_BODY, "required": True}},
)
async def add_assets(
    request: Request,
    service: Service,
    encoder: EncoderName = "lite0",
    task: FilesTask = None,
    label: FilesLabels = None,
    split: FilesSplit = None,
    modality: ReadAs = None,
) -> AssetsResponse:
    labels = labelling(task, label, split)
    worker = service.worker(encoder)
    store = await run_in_threadpool(service.writable_store, worker.encoder)
    uploads = await read_uploads(request, service.settings.max_items, modality)
    return await store_uploads(store, worker, uploads, labels)


@router.post(
    "/backfills", status_code=202, summary="Start to embed every stored asset that has no vector of this encoder yet"
)
async def start_backfill(body: BackfillRequest, service: Service) -> BackfillStatus:
    service.backfills.require_room()
    worker = service.worker(body.encoder)
    if body.tokens:
        worker.require_tokens()
    encoder = worker.encoder
    store = await run_in_threadpool(service.writable_store, encoder)
    settings = service.settings
    options = body.model_dump(exclude={"encoder"}) | {"batch": settings.max_batch, "limits": settings.limits}
    return service.backfills.start(encoder.name, lambda report: backfill(store, encoder, on_progress=report, **options))


@router.get("/backfills", summary="The backfills of this process: queued, running and finished")
async def list_backfills(service: Service) -> BackfillsResponse:
    return BackfillsResponse(backfills=service.backfills.all())


@router.get("/backfills/{job_id}", summary="Progress of a backfill")
async def read_backfill(job_id: str, service: Service) -> BackfillStatus:
    return service.backfills.status(job_id)


def _shown(held: Held, service: EmbeddingService) -> EncoderInfo:
    info = EncoderInfo(
        name=held.name,
        state=held.state,
        failure=held.failure,
        fingerprint=held.fingerprint,
        idle_seconds=round(service.encoders.seconds_idle(held), 3),
    )
    return info.model_copy(update=_of_worker(held.worker, held)) if held.worker else info


def _of_worker(worker: EncoderWorker, held: Held) -> dict[str, object]:
    """Return the fields of a loaded encoder."""
    spec, backend = worker.encoder.spec, worker.encoder.backend
    return {
        "dim": spec.dim,
        "modalities": spec.modalities,
        "backend": backend,
        "text": spec.text is not None,
        "tokens": spec.tokens,
        "device": held.device,
        "precision": Backend.named(backend).precision,
        "bytes": held.size,
        "items_per_second": round(worker.last_minute.rate, 3),
        "waiting": worker.waiting,
    }


def _as_json(item: Vectored) -> EmbeddedItem:
    vector = None if item.vector is None else item.vector.tolist()
    return EmbeddedItem(id=item.id, name=item.name, vector=vector, error=item.error)


def _as_openai(index: int, item: Vectored, encoding: str) -> OpenAIItem:
    if item.vector is None:
        return OpenAIItem(object="error", index=index, error=item.error)
    if encoding == "base64":
        packed = base64.b64encode(item.vector.astype("<f4").tobytes()).decode()
        return OpenAIItem(index=index, embedding=packed)
    return OpenAIItem(index=index, embedding=item.vector.tolist())
