"""The Prometheus metrics of a service. This is the only module that imports prometheus_client."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST

STAGES = ("queue", "decode", "encode", "head")
"""The steps of a request: waiting for the encoder, bytes → pixels, pixels → vectors, vectors → answers."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The metrics of one service. Each instance has a registry of its own, so that two apps can share a process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "headwater_requests_total",
            "Requests answered",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._request_seconds = Histogram(
            "headwater_request_seconds",
            "Seconds from the first byte of a request to the end of its answer",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stage_seconds = Histogram(
            "headwater_stage_seconds",
            "Seconds in one step: queue and decode for an item, encode for a batch, head for a request",
            ("stage",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._items = Counter(
            "headwater_items_total",
            "Files, texts and vectors by outcome: ok, or the code of the error",
            ("outcome",),
            registry=self._registry,
        )
        self._queue_depth = Gauge(
            "headwater_queue_depth",
            "Items that wait for the encoder, those being decoded included",
            ("encoder",),
            registry=self._registry,
        )
        for stage in STAGES:  # shown as zero before the first request, and not missing
            self._stage_seconds.labels(stage)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def stage(self, stage: str, seconds: float) -> None:
        """Add the time that one item, batch or request spent in `stage`."""
        self._stage_seconds.labels(stage).observe(seconds)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of the block to `stage`, unless the block raises."""
        start = time.perf_counter()
        yield
        self.stage(stage, time.perf_counter() - start)

    def item(self, outcome: str) -> None:
        """Count one item with its outcome: "ok" or the code of its error."""
        self._items.labels(outcome).inc()

    def queue_depth(self, encoder: str, depth: Callable[[], int]) -> None:
        """Show `depth()` as the number of items that wait for `encoder`. It is called when the metrics are read."""
        self._queue_depth.labels(encoder).set_function(depth)

    def render(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)
