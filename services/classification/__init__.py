"""The classification service (no torch): answers of trained heads for images, stored ids or vectors."""

from fastapi import FastAPI

from services.classification.routes import router
from services.classification.state import ClassificationService
from services.service import make_app
from services.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    return make_app(ClassificationService(settings), router, "Headwater classification", "Answers of trained heads.")
