"""The embedding service (torch): images and texts in, frozen vectors out, and into the store."""

from fastapi import FastAPI

from services.embedding.routes import router
from services.embedding.state import EmbeddingService
from services.settings import Settings
from services.web.app import make_app


def create_app(settings: Settings) -> FastAPI:
    return make_app(EmbeddingService(settings), router, "Headwater embedding", "Frozen vectors of images and texts.")
