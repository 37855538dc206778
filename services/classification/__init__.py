"""The classification service: answers of trained heads for files, stored ids or vectors. It needs no torch."""

from fastapi import FastAPI

from services.classification import inference
from services.classification.embedding import Embedding
from services.classification.jobs.routes import router as jobs_router
from services.classification.learn.routes import router as learn_router
from services.classification.routes import is_ready, router
from services.classification.state import ClassificationService
from services.classification.view import assets, files, me, quarantine, rows_routes
from services.page import mount as page
from services.settings import Settings
from services.web import labels
from services.web.app import make_app

router.include_router(inference.router)
router.include_router(jobs_router)
router.include_router(labels.router)
for each in (me, rows_routes, assets, files, quarantine):
    router.include_router(each.router)
router.include_router(learn_router)


def create_app(settings: Settings, embedding: Embedding | None = None) -> FastAPI:
    """Return the app of the classification service.

    Args:
        embedding: the embedding service; None for the one at the address in `settings`.
    """
    service = ClassificationService(settings, embedding)
    return make_app(
        service, router, "Headwater classification", "Answers of trained heads.", ready=is_ready, mount_root=page.mount
    )
