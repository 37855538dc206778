"""Jobs on a Ray cluster. Only this package imports ray, and only when a job runs."""

from services.jobs.ray.backfill import backfill
from services.jobs.ray.connection import Workers
from services.jobs.ray.predict import predicting
from services.jobs.ray.worker import loader

__all__ = ["Workers", "backfill", "loader", "predicting"]
