"""Spans reach a collector over gRPC, which is the way if no other is named, and the sampler is
OpenTelemetry's.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service

from protocol.process.spans import Spans
from protocol.trace_context import TraceContext

UNHEARD = "http://127.0.0.1:9"


class Heard(service.TraceServiceServicer):
    """A collector that speaks gRPC."""

    def __init__(self) -> None:
        self.requests: Queue[Any] = Queue()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's own
        self.requests.put(request)
        return messages.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[str, Queue[Any]]]:
    """Its address, and what comes there."""
    heard = Heard()
    server = grpc.server(ThreadPoolExecutor(1))
    service.add_TraceServiceServicer_to_server(heard, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}", heard.requests
    server.stop(None).wait()


def add(spans: Spans, context: TraceContext) -> None:
    spans.add("work", context, None, times_ns=(5, 3), attributes={"count": 2})


def test_what_ended_is_sent_over_grpc_before_the_end(collector: tuple[str, Queue[Any]]) -> None:
    spans = Spans(collector[0], over_http=False, service="kvmesh-test", instance="one")
    add(spans, context := spans.begin(None, "work"))
    spans.close()
    (of_process,) = collector[1].get_nowait().resource_spans
    process = {each.key: each.value.string_value for each in of_process.resource.attributes}
    assert (process["service.name"], process["service.instance.id"]) == ("kvmesh-test", "one")
    ((span,),) = (scope.spans for scope in of_process.scope_spans)
    assert int.from_bytes(span.trace_id) == context.trace_id
    assert int.from_bytes(span.span_id) == context.span_id
    assert (span.name, span.start_time_unix_nano, span.end_time_unix_nano) == ("work", 5, 5)


@pytest.mark.parametrize(
    ("sampler", "anew", "below_recorded", "below_silent"),
    [
        ("parentbased_always_on", True, True, False),
        ("parentbased_always_off", False, True, False),
        ("always_on", True, True, True),
        ("always_off", False, False, False),
        ("traceidratio", False, False, False),
        ("parentbased_traceidratio", False, True, False),
    ],
)
def test_the_sampler_that_is_named_decides(
    monkeypatch: pytest.MonkeyPatch,
    sampler: str,
    anew: bool,
    below_recorded: bool,
    below_silent: bool,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.0")
    spans = Spans(UNHEARD, over_http=True, service="s", instance="i")
    recorded, silent = (TraceContext(7, 7, sampled, "a=b") for sampled in (True, False))
    assert spans.begin(None, "work").sampled is anew
    assert spans.begin(recorded, "work").sampled is below_recorded
    assert spans.begin(silent, "work").sampled is below_silent
    below = spans.begin(recorded, "work")
    assert (below.trace_id, below.tracestate) == (7, "a=b")
    assert below.span_id != 7
    spans.close()


def test_a_services_own_name_wins(
    monkeypatch: pytest.MonkeyPatch, collector: tuple[str, Queue[Any]]
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "theirs")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    spans = Spans(collector[0], over_http=False, service="kvmesh-test", instance="one")
    add(spans, spans.begin(None, "work"))
    spans.close()
    (of_process,) = collector[1].get_nowait().resource_spans
    process = {each.key: each.value.string_value for each in of_process.resource.attributes}
    assert process["service.name"] == "theirs"
    assert process["deployment.environment"] == "test"
