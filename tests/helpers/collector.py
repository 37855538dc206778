"""A collector of OpenTelemetry that keeps the spans which services send to it, by OTLP over HTTP."""

import gzip
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from helpers.serving import answering


@dataclass(frozen=True)
class Seen:
    """One span as the collector received it. Ids are hexadecimal; `parent` is empty for a root."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    kind: int
    failed: bool
    start: int
    end: int
    attributes: dict[str, Any]


@dataclass
class Collector:
    """What was received so far: the spans, and the bodies and paths of the requests."""

    url: str
    spans: list[Seen] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def wait(self, count: int, trace: str) -> list[Seen]:
        """Return the spans of a trace when there are `count` of them."""
        deadline = time.monotonic() + 20
        while len(found := [span for span in self.spans if span.trace == trace]) < count:
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on loopback during the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.paths.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            collector.bodies.append(body)
            if self.path == "/v1/traces":
                collector.spans.extend(_spans(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with answering(Handler) as url:
        collector = Collector(url)
        yield collector


def _spans(body: bytes) -> Iterator[Seen]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _attributes(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Seen(
                    service,
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.kind,
                    span.status.code == 2,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    _attributes(span.attributes),
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
