"""The endpoints for the operator of a service: live, ready, metrics."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from services.web.metrics import CONTENT_TYPE
from services.web.schemas import NotReadyBody, ReadyBody


def make_router(ready: Callable[..., Any] | None = None) -> APIRouter:
    """Return the router of the endpoints.

    Args:
        ready: endpoint `/health/ready` of a service that takes parameters there; None for the one without.
    """
    router = APIRouter(tags=["health"])
    router.get("/health/live", summary="200 as long as the process runs")(live)
    router.get(
        "/health/ready",
        summary="200 if requests will be answered, else 503 with the reason",
        responses={200: {"model": ReadyBody}, 503: {"model": NotReadyBody, "description": "Not ready"}},
    )(ready or is_ready)
    router.get(
        "/metrics",
        summary="Metrics in the text format of Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )(read_metrics)
    return router


async def live() -> dict[str, str]:
    return {"status": "live"}


async def is_ready(request: Request) -> JSONResponse:
    ready, details = await request.app.state.service.ready()
    return JSONResponse({"ready": ready, **details}, status_code=200 if ready else 503)


async def read_metrics(request: Request) -> Response:
    return Response(request.app.state.service.metrics.render(), media_type=CONTENT_TYPE)
