"""The classification service (no torch): answers of trained heads for images, stored ids or vectors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from threadpoolctl import threadpool_limits

from services.classification.routes import router
from services.classification.state import ClassificationService
from services.http import make_app
from services.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    service = ClassificationService(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        # A head's product takes a millisecond, but BLAS threads keep a core spinning long after it, and that core is
        # wanted by the next request. Concurrent requests use the other cores.
        with threadpool_limits(1, user_api="blas"):
            yield
        await service.stop()

    app = make_app(
        "Headwater classification",
        "Answers of trained heads.",
        metrics=service.metrics,
        max_body_bytes=settings.max_body_bytes,
        lifespan=lifespan,
        ready=service.ready,
    )
    app.state.service = service
    app.include_router(router)
    return app
