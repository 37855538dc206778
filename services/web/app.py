"""What both services are: state with a beginning and an end, and an app around it."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from services.settings import Settings
from services.web.errors import ERRORS, RemoteProblem
from services.web.metrics import CONTENT_TYPE, Metrics
from services.web.middleware import RequestScope, answer_error
from store import Store, StoreError


class Service(ABC):
    """The state of a service. Endpoints find it as `app.state.service`."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self._store: Store | None = None

    @abstractmethod
    async def start(self) -> None:
        """Begin; the service is live, and ready when `ready` says so."""

    @abstractmethod
    async def stop(self) -> None:
        """Finish what is under way and let go of everything."""

    @abstractmethod
    async def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether requests will be answered, and what there is to say about it."""

    def store(self) -> Store:
        """The feature store, opened when it is first needed. Raises StoreError when none is set."""
        if not self.settings.store:
            raise StoreError("this service has no store; start it with --store or set HEADWATER_STORE")
        if self._store is None:
            self._store = Store.open(self.settings.store)
        return self._store


def make_app(
    service: Service, router: APIRouter, title: str, description: str, *, ready: Callable[..., Any] | None = None
) -> FastAPI:
    """The app of a service: its own endpoints, and health, metrics, request ids, limits and errors."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(title=title, description=description, lifespan=lifespan)
    app.state.service = service
    app.add_middleware(RequestScope, metrics=service.metrics, max_body_bytes=service.settings.max_body_bytes)
    for kind in (*ERRORS, RemoteProblem, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer_error)

    @app.get("/health/live", tags=["health"], summary="The process runs")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    async def is_ready() -> JSONResponse:
        ok, details = await service.ready()
        return JSONResponse({"ready": ok, **details}, status_code=200 if ok else 503)

    summary = "Requests will be answered; 503 with the reason if not"
    app.get("/health/ready", tags=["health"], summary=summary)(ready or is_ready)

    @app.get("/metrics", tags=["health"], summary="Prometheus metrics", response_class=Response)
    async def read_metrics() -> Response:
        return Response(service.metrics.render(), media_type=CONTENT_TYPE)

    app.include_router(router)
    return app
