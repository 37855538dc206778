"""The embedding service (torch): images and texts in, frozen vectors out, and into the store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.embedding.routes import router
from services.embedding.state import EmbeddingService
from services.http import make_app
from services.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    service = EmbeddingService(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = make_app(
        "Headwater embedding",
        "Frozen vectors of images and texts.",
        metrics=service.metrics,
        max_body_bytes=settings.max_body_bytes,
        lifespan=lifespan,
        ready=service.ready,
    )
    app.state.service = service
    app.include_router(router)
    return app
