"""The Open Inference Protocol for heads: what KServe, Triton and their clients send to a model.

Specification: KServe, Open Inference Protocol (version 2), REST. A head is a model. It takes files (`image`, BYTES) or
vectors (`vector`, FP32), and answers with its labels and probabilities. All tensors are JSON.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from classifiers.published.head import PublishedHead
from services.classification import media, vectors
from services.classification.answers import Options, answer
from services.classification.routes import Service
from services.classification.state import ClassificationService
from services.web.errors import BadRequest, RemoteProblem
from services.web.parameters import BODY, ParameterRoute
from services.web.release import own_version
from services.web.schemas import (
    HeadAnswer,
    InferInput,
    InferRequest,
    InferResponse,
    Live,
    ModelMetadata,
    Name,
    OutputTensor,
    Ready,
    ServerMetadata,
    TensorMetadata,
    inline_schema,
)
from services.web.uploads import check_count
from services.web.wire import decode_base64

router = APIRouter(prefix="/v2", route_class=ParameterRoute)


INFER: dict[str, Any] = {
    "openapi_extra": {
        "requestBody": {"content": {"application/json": {"schema": inline_schema(InferRequest)}}, "required": True}
    },
    "response_model_exclude_none": True,
    "summary": "The labels and probabilities of a head for files or vectors",
}


@router.get("", summary="Name and version of the server")
async def server_metadata(service: Service) -> ServerMetadata:
    return ServerMetadata(name=service.name, version=own_version())


@router.get("/health/live", summary="200 as long as the process runs")
async def live() -> Live:
    return Live()


@router.get("/health/ready", summary="200 if requests will be answered, else 503", responses={503: {"model": Ready}})
async def ready(service: Service) -> JSONResponse:
    is_ready, _ = await service.ready()
    return JSONResponse({"name": service.name, "ready": is_ready}, status_code=200 if is_ready else 503)


@router.get("/models/{name}", summary="What a head takes and gives", response_model_exclude_none=True)
async def model(name: Name, service: Service) -> ModelMetadata:
    [head] = await service.heads([name])
    return await run_in_threadpool(_metadata, head, service)


@router.get("/models/{name}/ready", summary="200 if the head can answer")
async def model_ready(name: Name, service: Service) -> Ready:
    [head] = await service.heads([name])
    return Ready(name=head.name, ready=True)


@router.post("/models/{name}/infer", **INFER)
async def infer(name: Name, request: Request, service: Service) -> InferResponse:
    return await _infer(name, request, service)


VERSION = "/models/{name}/versions/{version}"


@router.get(VERSION, summary="What a version of a head takes and gives", response_model_exclude_none=True)
async def model_version(name: Name, version: Name, service: Service) -> ModelMetadata:
    return await model(f"{name}@{version}", service)


@router.get(f"{VERSION}/ready", summary="200 if the version of the head can answer")
async def version_ready(name: Name, version: Name, service: Service) -> Ready:
    return await model_ready(f"{name}@{version}", service)


@router.post(f"{VERSION}/infer", **INFER)
async def infer_version(name: Name, version: Name, request: Request, service: Service) -> InferResponse:
    return await _infer(f"{name}@{version}", request, service)


async def _infer(name: str, request: Request, service: ClassificationService) -> InferResponse:
    if "inference-header-content-length" in request.headers:
        raise BadRequest("binary tensors are not read; send JSON, with tritonclient as binary_data=False")
    body: InferRequest | None = request.scope.get(BODY)
    if body is None:
        raise BadRequest("expected application/json with the inputs of the Open Inference Protocol")
    [head] = await service.heads([name])
    [given] = body.inputs
    columns = await _READ[given.name](service, given, head)
    options = Options(len(head.head.classes), 0.9, "lac", None, None)
    items = await run_in_threadpool(answer, columns, [head], options, service.metrics)
    for i, item in enumerate(items):
        service.metrics.item(item.error.code if item.error else "ok")
        if item.error:
            raise RemoteProblem(422, item.error.code, f"item {i} of input {given.name}: {item.error.message}")
    answers = [item.answers[0] for item in items]
    names = [each.name for each in body.outputs] if body.outputs else ["label", "probability"]
    outputs = [_OUTPUTS[each](answers, head.head.classes) for each in names]
    return InferResponse(id=body.id, model_name=head.name, model_version=head.version, outputs=outputs)


async def _files(service: ClassificationService, given: InferInput, head: PublishedHead) -> vectors.Columns:
    _require(given, "BYTES", len(given.data) == given.shape[0] and given.shape[1:] in ([], [1]))
    if not all(isinstance(each, str) for each in given.data):
        raise BadRequest("an item of input image is no text; send each file as base64 or as a data URI")
    check_count(len(given.data), service.settings.max_items)
    uploads = await run_in_threadpool(lambda: [decode_base64(text) for text in given.data])
    return await media.of_media(service, uploads, [head], all_steps=False)


async def _vectors(service: ClassificationService, given: InferInput, head: PublishedHead) -> vectors.Columns:
    _require(given, "FP32", len(given.shape) == 2)
    count, width = given.shape
    check_count(count, service.settings.max_items)
    encoder = (given.parameters or {}).get("encoder")
    if encoder is None:
        encoder = _only_encoder(head)
    rows = await run_in_threadpool(_rows, given.data, count, width)
    return await vectors.of_request(service, rows, str(encoder), [head])


def _rows(data: Sequence[Any], count: int, width: int) -> list[list[float]]:
    """Return flat or nested data as a list for each row. Raises BadRequest if it does not have the shape."""
    try:
        X = np.array(data, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise BadRequest("the data of input vector are no numbers, or lists of different lengths") from None
    if X.size != count * width or (X.ndim != 1 and X.shape != (count, width)):
        raise BadRequest(f"the data of input vector have the shape {list(X.shape)}, and not [{count}, {width}]")
    rows: list[list[float]] = X.reshape(count, width).tolist()
    return rows


def _require(given: InferInput, datatype: str, fits: bool) -> None:
    if given.datatype != datatype and (given.datatype, datatype) != ("FP64", "FP32"):
        raise BadRequest(f"input {given.name} has the datatype {datatype}, not {given.datatype}")
    if not fits:
        raise BadRequest(f"the shape {given.shape} does not fit input {given.name}; ask for the metadata of the model")


def _only_encoder(head: PublishedHead) -> str:
    encoders = head.manifest.encoders
    if len(encoders) == 1:
        return encoders[0].fingerprint
    names = ", ".join(each.name for each in encoders)
    raise BadRequest(f"head {head.name!r} reads several encoders; name one as the parameter encoder: {names}")


_READ = {"image": _files, "vector": _vectors}


def _labels(answers: Sequence[HeadAnswer], _: Sequence[str]) -> OutputTensor:
    return OutputTensor(name="label", datatype="BYTES", shape=[len(answers)], data=[each.label for each in answers])


def _probability(answers: Sequence[HeadAnswer], _: Sequence[str]) -> OutputTensor:
    data = [each.probability for each in answers]
    return OutputTensor(name="probability", datatype="FP32", shape=[len(answers)], data=data)


def _probabilities(answers: Sequence[HeadAnswer], classes: Sequence[str]) -> OutputTensor:
    rows = ({each.label: each.probability for each in found.top_k} for found in answers)
    data = [row[label] for row in rows for label in classes]
    return OutputTensor(name="probabilities", datatype="FP32", shape=[len(answers), len(classes)], data=data)


_OUTPUTS: Mapping[str, Callable[[Sequence[HeadAnswer], Sequence[str]], OutputTensor]] = {
    "label": _labels,
    "probability": _probability,
    "probabilities": _probabilities,
}


def _metadata(head: PublishedHead, service: ClassificationService) -> ModelMetadata:
    classes = list(head.head.classes)
    blocks = [] if head.head.reads_tokens else head.manifest.encoders
    takes = [
        TensorMetadata(
            name="vector",
            datatype="FP32",
            shape=[-1, block.columns[1] - block.columns[0]],
            parameters={"encoder": block.name},
        )
        for block in blocks
    ]
    return ModelMetadata(
        name=head.name,
        versions=service.registry.versions(head.name),
        platform=f"headwater_{head.manifest.kind}",
        inputs=[TensorMetadata(name="image", datatype="BYTES", shape=[-1]), *takes],
        outputs=[
            TensorMetadata(name="label", datatype="BYTES", shape=[-1]),
            TensorMetadata(name="probability", datatype="FP32", shape=[-1]),
            TensorMetadata(name="probabilities", datatype="FP32", shape=[-1, len(classes)]),
        ],
        parameters={"classes": classes},
    )
