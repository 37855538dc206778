"""The Prometheus metrics of a service. This is the only module that imports prometheus_client."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from services.web import tracing
from services.web.admission import Admission
from services.web.release import own_version

Inputs = TypeVar("Inputs", bound=list[Any])
Outputs = TypeVar("Outputs")

CONTENT_TYPE = CONTENT_TYPE_LATEST

STAGES = ("queue", "decode", "encode", "head")
"""The steps of a request: waiting for the encoder, bytes → pixels, pixels → vectors, vectors → answers."""

ALARMING = (
    *("internal", "store_unavailable", "disk_full", "bad_head", "probe_mismatch"),
    *("service_down", "service_refused", "unexpected_answer", "too_busy", "queue_full", "device_full"),
)
"""Codes of errors about which an operator has to do something. They are shown as zero before the first such error: an
increase that begins with no value at all is none to Prometheus."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one service. Each instance has a registry of its own, so that two apps can share a process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        counter, gauge = partial(Counter, registry=self._registry), partial(Gauge, registry=self._registry)
        histogram = partial(Histogram, registry=self._registry)
        self._requests = counter("headwater_requests_total", "Requests answered", ("method", "route", "status"))
        self._errors = counter(
            "headwater_request_errors_total", "Requests answered with an error, by its code", ("code",)
        )
        self._request_seconds = histogram(
            "headwater_request_seconds",
            "Seconds from the first byte of a request to the end of its answer",
            ("route",),
            buckets=_SECONDS,
        )
        self._stage_seconds = histogram(
            "headwater_stage_seconds",
            "Seconds in one step: queue and decode for an item, encode for a batch, head for a request",
            ("stage",),
            buckets=_SECONDS,
        )
        self._batch_items = histogram(
            "headwater_batch_items", "Items in one pass of an encoder", ("encoder",), buckets=_ITEMS
        )
        self._items = counter(
            "headwater_items_total", "Files, texts and vectors by outcome: ok, or the code of the error", ("outcome",)
        )
        self._answers = counter("headwater_answers_total", "Items that a head answered", ("head", "version"))
        self._queue_depth = gauge(
            "headwater_queue_depth", "Items that wait for the encoder, those being decoded included", ("encoder",)
        )
        self._under_way = gauge(
            "headwater_bytes_under_way", "Memory that the requests under way have reserved, in bytes"
        )
        self._most_under_way = gauge(
            "headwater_bytes_under_way_limit", "Most memory that all requests under way may reserve, in bytes"
        )
        self._encoders = gauge("headwater_encoders", "Encoders that should be loaded, and those that are", ("state",))
        self._backfills_waiting = gauge("headwater_backfills_waiting", "Backfills that wait for their turn")
        self._backfills = counter("headwater_backfills_total", "Backfills that ended: done or failed", ("state",))
        self._backfill_rows = counter(
            "headwater_backfill_rows_total",
            "Assets that backfills have handled: stored, or quarantined because they cannot be embedded",
            ("encoder", "outcome"),
        )
        self._jobs = gauge("headwater_jobs_unfinished", "Jobs that are queued or running", ("state",))
        self._jobs_ended = counter("headwater_jobs_total", "Jobs that ended, by their last state", ("state",))
        gauge("headwater_build_info", "1; the label has the version of Headwater", ("version",)).labels(
            own_version()
        ).set(1)
        for stage in STAGES:  # shown as zero before the first request, and not missing
            self._stage_seconds.labels(stage)
        for code in ALARMING:
            self._errors.labels(code)
        for state in ("done", "failed"):
            self._backfills.labels(state)
            self._jobs_ended.labels(state)

    def error(self, code: str) -> None:
        """Count one request that was answered with an error."""
        self._errors.labels(code).inc()

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def stage(self, stage: str, seconds: float) -> None:
        """Add the time that one item, batch or request spent in `stage`."""
        self._stage_seconds.labels(stage).observe(seconds)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of the block to `stage`, unless the block raises, and make it a span of the request's trace."""
        start = time.perf_counter()
        with tracing.span(stage):
            yield
        self.stage(stage, time.perf_counter() - start)

    def item(self, outcome: str) -> None:
        """Count one item with its outcome: "ok" or the code of its error."""
        self._items.labels(outcome).inc()

    def answers(self, head: str, version: str, items: int) -> None:
        """Count the items that a version of a head has answered in one request."""
        self._answers.labels(head, version).inc(items)

    def batches(self, encoder: str, run: Callable[[Inputs], Outputs]) -> Callable[[Inputs], Outputs]:
        """Return `run`, a pass of `encoder`, so that it also adds the number of its inputs."""
        sizes = self._batch_items.labels(encoder)

        def counted(inputs: Inputs) -> Outputs:
            sizes.observe(len(inputs))
            return run(inputs)

        return counted

    def backfill_rows(self, encoder: str, stored: int, quarantined: int) -> None:
        """Count the assets that a backfill has handled since the last call."""
        self._backfill_rows.labels(encoder, "stored").inc(stored)
        self._backfill_rows.labels(encoder, "quarantined").inc(quarantined)

    def backfill_ended(self, state: str) -> None:
        """Count one backfill that ended: "done" or "failed"."""
        self._backfills.labels(state).inc()

    def job_ended(self, state: str) -> None:
        """Count one job that ended: "done", "failed", "cancelled" or "interrupted"."""
        self._jobs_ended.labels(state).inc()

    # Gauges: each function is called when the metrics are read.

    def memory(self, admission: Admission) -> None:
        """Show the memory that the requests under way have reserved, and its limit."""
        self._under_way.set_function(lambda: admission.used)
        self._most_under_way.set(admission.limit)

    def encoders(self, configured: Callable[[], int], loaded: Callable[[], int]) -> None:
        """Show how many encoders should be loaded, and how many are."""
        self._encoders.labels("configured").set_function(configured)
        self._encoders.labels("loaded").set_function(loaded)

    def backfills_waiting(self, waiting: Callable[[], int]) -> None:
        """Show `waiting()` as the number of backfills that wait."""
        self._backfills_waiting.set_function(waiting)

    def jobs(self, state: str, count: Callable[[], int]) -> None:
        """Show `count()` as the number of jobs in `state`: "queued" or "running"."""
        self._jobs.labels(state).set_function(count)

    def queue_depth(self, encoder: str, depth: Callable[[], int]) -> None:
        """Show `depth()` as the number of items that wait for `encoder`."""
        self._queue_depth.labels(encoder).set_function(depth)

    def encoder_unloaded(self, encoder: str) -> None:
        """Show no queue of an encoder any more. Its gauge keeps the encoder in memory."""
        with suppress(KeyError):
            self._queue_depth.remove(encoder)

    def render(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)
