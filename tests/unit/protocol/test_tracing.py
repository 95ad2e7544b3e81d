"""Whether spans are wanted and where they go, by OpenTelemetry's variables."""

import sys

import pytest

from protocol.process.start_error import StartError
from protocol.process.tracing import is_wanted, open_spans, route_of

ALL, TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
WAY = "OTEL_EXPORTER_OTLP_PROTOCOL"


@pytest.mark.parametrize(
    ("told", "environ", "wanted"),
    [
        (None, {}, False),
        (True, {}, True),
        (None, {ALL: "http://c:4317"}, True),
        (None, {TRACES: "http://c:4317"}, True),
        (None, {ALL: ""}, False),
        (False, {ALL: "http://c:4317"}, False),
        (True, {"OTEL_SDK_DISABLED": "True"}, False),
        (True, {"OTEL_TRACES_EXPORTER": "none"}, False),
        (True, {"OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_when_spans_are_wanted(told: bool | None, environ: dict[str, str], wanted: bool) -> None:
    assert is_wanted(told, environ) is wanted


@pytest.mark.parametrize(
    ("environ", "protocol", "endpoint"),
    [
        ({}, "grpc", "http://localhost:4317"),
        ({WAY: "http/protobuf"}, "http/protobuf", "http://localhost:4318/v1/traces"),
        ({ALL: "http://c:4317"}, "grpc", "http://c:4317"),
        ({ALL: "http://c/x/", WAY: "http/protobuf"}, "http/protobuf", "http://c/x/v1/traces"),
        ({ALL: "http://c", TRACES: "http://t"}, "grpc", "http://t"),
        ({TRACES: "http://t/as/it/is", WAY: "http/protobuf"}, "http/protobuf", "http://t/as/it/is"),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", WAY: "grpc", ALL: "http://c"},
            "http/protobuf",
            "http://c/v1/traces",
        ),
    ],
)
def test_where_spans_go(environ: dict[str, str], protocol: str, endpoint: str) -> None:
    assert route_of(environ) == (protocol, endpoint)


def test_a_way_that_there_is_not_is_refused() -> None:
    with pytest.raises(StartError, match="OTEL_EXPORTER_OTLP_TRACES_PROTOCOL must be grpc or"):
        route_of({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"})


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("protocol.process.spans")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(StartError, match=r"OpenTelemetry is not installed .*kvmesh\[tracing\]"):
        open_spans(True, service="s", instance="i")


def test_nothing_is_imported_for_those_who_do_not_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ALL, TRACES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "protocol.process.spans", None)
    assert open_spans(None, service="s", instance="i") is None
