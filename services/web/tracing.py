"""Traces of requests through both services, for an OpenTelemetry collector. The only module that imports opentelemetry.

A trace is a tree of *spans*, each a named piece of work with its start and its end. The span of a request is the root,
or a child of the span that the caller names in the header ``traceparent`` (W3C Trace Context). Below it are the stages,
and the calls of the other service, which continues the same trace.

Traces are off unless the environment names a collector (`services.settings.collector_named`). Then this module imports
nothing of opentelemetry, and every function returns after one look-up. Spans have no name of a file, no text, no path,
no key and no message of an error in them.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from starlette.types import Scope

from services.settings import collector_named
from services.web.release import own_version

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, Tracer

P = ParamSpec("P")
R = TypeVar("R")
Watch = Callable[[str, float], None]
"""Receives the name of a stage that has just ended, and its duration in seconds."""

FLUSH_SECONDS = 1.0
"""Longest time for which a service that stops waits until the collector has its last spans."""

HEADERS = (b"traceparent", b"tracestate")

log = logging.getLogger("headwater.tracing")


class RequestSpan:
    """The span of a request that is not traced: nothing."""

    def end(self, method: str, route: str, status: int, request_id: str) -> None:
        """End the span with what is known about the request when it has been answered."""


UNTRACED, _NOTHING = RequestSpan(), nullcontext()


class Tracing:
    """The tracing of a service without a collector: it makes no spans."""

    def request(self, scope: Scope) -> RequestSpan:  # noqa: ARG002 - tracing with a collector reads it
        """Begin the span of a request. Until it ends, `span` and the others in this module add to it."""
        return UNTRACED

    def stop(self) -> None:
        """Send the last spans. Return within `FLUSH_SECONDS`."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A span that has not ended, and what makes its children."""

    span: "Span"
    tracer: "Tracer"

    @property
    def context(self) -> "Context":
        from opentelemetry.trace import set_span_in_context

        return set_span_in_context(self.span)


_current: ContextVar[_Open | None] = ContextVar("span", default=None)


def make(service: str) -> Tracing:
    """Return the tracing of a service, which sends its spans under the name `service`."""
    if not collector_named():
        return Tracing()
    try:
        return _Collected(service)
    except ImportError as error:
        log.warning(
            "traces are off: the environment names a collector, but a package is missing; "
            "pip install 'headwater[tracing]'",
            extra={"missing": error.name},
        )
        return Tracing()


@contextmanager
def _child(parent: _Open, name: str, kind: "SpanKind | None") -> Iterator[None]:
    from opentelemetry.trace import SpanKind

    span = parent.tracer.start_span(name, parent.context, kind or SpanKind.INTERNAL)
    token = _current.set(_Open(span, parent.tracer))
    try:
        yield
    except Exception as error:
        _fail(span, type(error).__name__)
        raise
    finally:
        _current.reset(token)
        span.end()


def span(name: str) -> AbstractContextManager[None]:
    """Make the block a span of the current request's trace. Without a trace, do nothing."""
    parent = _current.get()
    return _NOTHING if parent is None else _child(parent, name, None)


def call(method: str, path: str) -> AbstractContextManager[None]:
    """Make the block the span of a call of the other service; `headers` hands it over.

    Args:
        path: path of the endpoint, without parameters.
    """
    if (parent := _current.get()) is None:
        return _NOTHING
    from opentelemetry.trace import SpanKind

    return _child(parent, f"{method} {path}", SpanKind.CLIENT)


def headers() -> dict[str, str]:
    """Return the headers that let the other service continue the current trace; empty without a trace."""
    found: dict[str, str] = {}
    if (current := _current.get()) is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(found, current.context)
    return found


def carried(run: Callable[P, R]) -> Callable[P, R]:
    """Return `run` for another thread, where its spans are children of the current span."""
    current = _current.get()
    if current is None:
        return run

    @wraps(run)
    def in_span(*args: P.args, **kwargs: P.kwargs) -> R:
        token = _current.set(current)
        try:
            return run(*args, **kwargs)
        finally:
            _current.reset(token)

    return in_span


def watch() -> Watch | None:
    """Return what adds stages that others measured to the current span; None without a trace."""
    current = _current.get()
    if current is None:
        return None

    def add(stage: str, seconds: float) -> None:
        now = time.time_ns()
        current.tracer.start_span(stage, current.context, start_time=now - round(seconds * 1e9)).end(now)

    return add


def trace_id() -> str:
    """Return the id of the current trace, 32 hexadecimal digits; empty without a trace."""
    current = _current.get()
    return "" if current is None else f"{current.span.get_span_context().trace_id:032x}"


def _fail(span: "Span", kind: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", kind)


class _Traced(RequestSpan):
    """The span of a request that is traced."""

    def __init__(self, opened: _Open) -> None:
        self._span = opened.span
        _current.set(opened)

    def end(self, method: str, route: str, status: int, request_id: str) -> None:
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "headwater.request_id": request_id,
            }
        )
        if status >= 500:
            _fail(self._span, str(status))
        self._span.end()
        _current.set(None)


class _Collected(Tracing):
    """Tracing that sends its spans to a collector, by OTLP over HTTP. The variables ``OTEL_…`` configure it."""

    def __init__(self, service: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({"service.name": service, "service.version": own_version()})
        self._provider: TracerProvider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("headwater")

    def request(self, scope: Scope) -> RequestSpan:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        given = {name.decode(): _text(values) for name in HEADERS if (values := _values(scope, name))}
        caller = TraceContextTextMapPropagator().extract(given)
        return _Traced(_Open(self._tracer.start_span(scope["method"], caller, SpanKind.SERVER), self._tracer))

    def stop(self) -> None:
        thread = threading.Thread(target=self._provider.shutdown, daemon=True, name="tracing")
        thread.start()
        thread.join(FLUSH_SECONDS)


def _values(scope: Scope, name: bytes) -> Sequence[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def _text(values: Sequence[bytes]) -> str:
    return b",".join(values).decode("latin-1")
