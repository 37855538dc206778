"""Jobs on a Ray cluster, this machine's own or one by address. Only here is ray imported, and only when a job runs."""

from services.distributed.backfill import backfill
from services.distributed.cluster import Cluster
from services.distributed.worker import loader

__all__ = ["Cluster", "backfill", "loader"]
