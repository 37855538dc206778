"""Builds the app of a service, and defines what both services have in common."""

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware

from services.settings import Settings, unknown_variables
from services.web import docs_page, health, tracing
from services.web.access.guards import guards
from services.web.admission import Admission
from services.web.document import complete
from services.web.error_answers import ANSWERED, answer_error
from services.web.head_requests import HeadAsGet
from services.web.metrics import Metrics
from services.web.middleware import RequestScope
from services.web.waiting import Lanes
from store import Store, StoreError

log = logging.getLogger("headwater.settings")


class Service(ABC):
    """The state of a service. Endpoints find it as `app.state.service`.

    Attributes:
        name: name of the service in traces.
    """

    name: ClassVar[str] = "headwater"

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics, self.tracing = settings, Metrics(), tracing.make(self.name)
        self.admission, self.lanes = Admission(settings.max_bytes_under_way), Lanes(settings.max_wait_seconds)
        self.metrics.memory(self.admission)
        self._store: Store | None = None

    @abstractmethod
    async def start(self) -> None:
        """Start the service. It is live from now on, and ready when `ready` says so."""

    @abstractmethod
    async def stop(self) -> None:
        """Finish the work under way and release everything that `start` took."""

    @abstractmethod
    async def ready(self) -> tuple[bool, dict[str, Any]]:
        """Return True if requests will be answered, and the details that `/health/ready` shows."""

    @property
    def request_limits(self) -> dict[str, Any]:
        """Arguments of the middleware `RequestScope`."""
        return {
            "metrics": self.metrics,
            "tracing": self.tracing,
            "admission": self.admission,
            "lanes": self.lanes,
            "max_bytes": self.settings.max_body_bytes,
            "max_seconds": self.settings.max_receive_seconds,
        }

    def store(self) -> Store:
        """Return the feature store, opened at the first call. Raises StoreError if the settings name none."""
        if not self.settings.store:
            raise StoreError("this service has no store; its operator can set HEADWATER_STORE")
        if self._store is None:
            self._store = Store.open(self.settings.store, max_file_bytes=self.settings.max_file_bytes)
        return self._store


class App(FastAPI):
    """The app of a service, whose OpenAPI document has the errors and the keys."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document. It is made at the first call."""
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi(), keys=bool(self.state.service.settings.keys))
        return self.openapi_schema


def make_app(
    service: Service,
    router: APIRouter,
    title: str,
    description: str,
    *,
    ready: Callable[..., Any] | None = None,
    mount_root: Callable[[FastAPI], None] = docs_page.mount_root,
) -> FastAPI:
    """Return the app of `service`: its endpoints in `router`, and everything that both services have.

    A request passes, from the outside in: the middleware, the handlers of exceptions, the endpoints.

    Args:
        ready: endpoint `/health/ready` of a service that takes parameters there; None for the one without.
        mount_root: function that adds the page `/` to the app.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for warning in unknown_variables():
            log.warning(warning)
        await service.start()
        yield
        await service.stop()
        await run_in_threadpool(service.tracing.stop)

    app = App(
        title=title,
        description=description,
        lifespan=lifespan,
        middleware=[
            Middleware(RequestScope, **service.request_limits),
            *guards(service.settings),
            Middleware(HeadAsGet),
        ],
        exception_handlers=dict.fromkeys(ANSWERED, answer_error),
        telemetry={"tracing": False, "metrics": False, "logs": False},  # its spans have queries, `tracing` has none
        docs_url=None,  # FastAPI's own pages load their scripts from the internet
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(health.make_router(ready))
    app.include_router(router)
    mount_root(app)
    docs_page.mount(app)
    return app
