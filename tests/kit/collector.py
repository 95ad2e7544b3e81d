"""A collector of spans in the test's own process, which processes send to as they would to any."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

WAIT_S_MAX = 30.0


@dataclass(frozen=True)
class Span:
    """A span as a collector gets it; ids in hex, times in ns."""

    service: str
    instance: str
    trace_id: str
    span_id: str
    parent_id: str
    tracestate: str
    name: str
    kind: int
    start: int
    end: int
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    error: str


class Collector:
    """Spans that came, in the order of their coming."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._came = Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """What a process is told to have its spans come here, soon after they ended."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    def wait_for(self, condition: Callable[[list[Span]], bool], what: str) -> list[Span]:
        """All spans, once a condition is true of them."""
        with self._came:
            found = self._came.wait_for(lambda: condition(self._spans), WAIT_S_MAX)
            assert found, f"{what}: not among {[(each.service, each.name) for each in self._spans]}"
            return list(self._spans)

    def trace(self, trace_id: str, *names: str) -> list[Span]:
        """The spans of a trace, once those of these names have come, as often as they are named,
        in the order of their begins.
        """

        def whole(spans: list[Span]) -> bool:
            found = [f"{each.service} {each.name}" for each in spans if each.trace_id == trace_id]
            return all(found.count(name) >= names.count(name) for name in names)

        spans = self.wait_for(whole, f"{names} of {trace_id}")
        return sorted(
            (each for each in spans if each.trace_id == trace_id), key=lambda each: each.start
        )

    def stop(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _add(self, request: ExportTraceServiceRequest) -> None:
        with self._came:
            self._spans += _spans(request)
            self._came.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        add = self._add

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                add(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector for as long as it is used."""
    collector = Collector()
    try:
        yield collector
    finally:
        collector.stop()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for of_process in request.resource_spans:
        process = _attributes(of_process.resource.attributes)
        for scope in of_process.scope_spans:
            for span in scope.spans:
                yield Span(
                    process["service.name"],
                    process.get("service.instance.id", ""),
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.trace_state,
                    span.name,
                    span.kind,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    _attributes(span.attributes),
                    [(event.name, _attributes(event.attributes)) for event in span.events],
                    span.status.message,
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)
