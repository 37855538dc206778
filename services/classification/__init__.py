"""The classification service (no torch): answers of trained heads for images, stored ids or vectors."""

from fastapi import FastAPI

from services.classification.routes import router
from services.classification.state import ClassificationService
from services.settings import Settings
from services.web.app import make_app


def create_app(settings: Settings) -> FastAPI:
    return make_app(ClassificationService(settings), router, "Headwater classification", "Answers of trained heads.")
