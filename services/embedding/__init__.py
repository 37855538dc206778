"""The embedding service (with torch): turns images, sounds, videos and texts into frozen vectors, and stores them."""

from fastapi import APIRouter, FastAPI

from services.embedding import packed, routes
from services.embedding.state import EmbeddingService
from services.settings import Settings
from services.web import labels
from services.web.app import make_app

router = APIRouter()  # without a prefix: a route has the prefix of its own router only, in metrics and logs
router.include_router(routes.router)
router.include_router(labels.router)

DESCRIPTION = "Turns images, sounds, videos and texts into vectors. The encoders are frozen: they never change."


def create_app(settings: Settings) -> FastAPI:
    """Return the app of the embedding service."""
    app = make_app(EmbeddingService(settings), router, "Headwater embedding", DESCRIPTION)
    app.router.routes.insert(0, packed.route)
    return app
