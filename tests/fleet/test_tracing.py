"""Spans of real processes, as a collector gets them: one tree a request, over HTTP and the mesh."""

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.fault.streams import on_each_worker
from tests.fleet.pictures import data_url, picture
from tests.fleet.test_pictures import MODEL as SEEING
from tests.fleet.test_pictures import SIM as SIM_SEEING
from tests.fleet.test_pictures import messages
from tests.kit.collector import Collector, Span, collecting
from tests.kit.fleet import Fleet

SIM = ("--served-model-name", "demo", "--sim-speedup", "0", "--context-length", "4096")
SECRET = "a word that no span may hold"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STAGES = ("tokenize", "queue", "route", "prefill", "decode", "finish")
WHOLE = (
    "kvmesh-frontend POST /v1/chat/completions",
    *(f"kvmesh-frontend {stage}" for stage in STAGES),
    *("kvmesh-worker generate", "kvmesh-worker prefill", "kvmesh-worker decode"),
)
SERVER, INTERNAL = 2, 1


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A collector for all tests of the module."""
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Fleet]:
    """A frontend and a worker that send their spans to the collector."""
    fleet = Fleet(tmp_path_factory.mktemp("traced"))
    fleet.frontend(env=collector.environment)
    fleet.worker(*SIM, "--worker-id", "w0", env=collector.environment)
    fleet.wait_for_workers(1)
    yield fleet
    fleet.stop()


def ask(fleet: Fleet, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    body = {"model": "demo", "max_tokens": 5, "messages": [{"role": "user", "content": SECRET}]}
    return httpx.post(
        f"{fleet.url}/v1/chat/completions", json=body | fields, headers=headers, timeout=60
    )


def trace_of(answer: httpx.Response) -> str:
    """The trace that an answer names."""
    return answer.headers["traceresponse"].split("-")[1]


def named(spans: list[Span], name: str) -> Span:
    """The one span of this name, "SERVICE NAME" without "kvmesh-"."""
    (found,) = (each for each in spans if f"{each.service} {each.name}" == f"kvmesh-{name}")
    return found


def test_a_request_is_one_tree_over_both_processes(traced: Fleet, collector: Collector) -> None:
    answer = ask(traced)
    spans = collector.trace(trace_of(answer), *WHOLE)
    assert sorted(f"{each.service} {each.name}" for each in spans) == sorted(WHOLE)
    root, leg = named(spans, "frontend POST /v1/chat/completions"), named(spans, "worker generate")
    assert (root.parent_id, root.kind) == ("", SERVER)
    assert (leg.parent_id, leg.kind) == (root.span_id, SERVER)
    for stage in STAGES:
        span = named(spans, f"frontend {stage}")
        assert (span.parent_id, span.kind) == (root.span_id, INTERNAL)
        assert root.start <= span.start <= span.end <= root.end
    for stage in ("prefill", "decode"):
        span = named(spans, f"worker {stage}")
        assert span.parent_id == leg.span_id
        assert leg.start <= span.start <= span.end <= leg.end
    stages = [named(spans, f"frontend {stage}") for stage in STAGES]
    assert all(one.end <= other.start for one, other in pairwise(stages))
    assert leg.instance == "w0"
    assert SECRET not in repr(spans)


def test_what_a_span_says(traced: Fleet, collector: Collector) -> None:
    answer = ask(traced, {"x-request-id": "mine"}, n=2, max_tokens=4)
    spans = collector.trace(trace_of(answer), *WHOLE, *WHOLE[2:6], *WHOLE[7:])
    told = named(spans, "frontend POST /v1/chat/completions").attributes
    usage = answer.json()["usage"]
    assert told == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "gen_ai.provider.name": "kvmesh",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "demo",
        "gen_ai.request.stream": False,
        "gen_ai.request.choice.count": 2,
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.cache_read.input_tokens": usage["prompt_tokens_details"]["cached_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "gen_ai.response.finish_reasons": ["length"],
        "kvmesh.request.id": "mine",
        "kvmesh.moves": 0,
    }
    decodes = [
        each for each in spans if each.service == "kvmesh-frontend" and each.name == "decode"
    ]
    assert sorted(each.attributes["kvmesh.choice"] for each in decodes) == [0, 1]
    assert {each.attributes["kvmesh.worker.id"] for each in decodes} == {"w0"}
    for leg in (each for each in spans if each.name == "generate"):
        assert leg.attributes["kvmesh.worker.stage"] == "whole"
        assert leg.attributes["gen_ai.usage.output_tokens"] == 4


def test_a_clients_trace_goes_on(traced: Fleet, collector: Collector) -> None:
    answer = ask(
        traced, {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=of-the-caller"}
    )
    assert trace_of(answer) == TRACE
    assert answer.headers["traceresponse"].endswith("-01")
    spans = collector.trace(TRACE, *WHOLE)
    root = named(spans, "frontend POST /v1/chat/completions")
    assert root.parent_id == CALLER
    assert answer.headers["traceresponse"].split("-")[2] == root.span_id
    assert {each.tracestate for each in spans} == {"vendor=of-the-caller"}
    assert f" trace={TRACE} " in traced.processes[0].output()


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{TRACE[:-1]}Z-{CALLER}-01",
        f"00-{TRACE.upper()}-{CALLER}-01",
        f"00-{'0' * 32}-{CALLER}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{CALLER}-01",
        f"00-{TRACE}-{CALLER}-01-more",
        f"00-{TRACE}-{CALLER}",
        "x" * 300,
    ],
)
def test_a_trace_that_cannot_be_read_begins_anew(
    traced: Fleet, collector: Collector, traceparent: str
) -> None:
    answer = ask(traced, {"traceparent": traceparent, "tracestate": "a=b"})
    spans = collector.trace(trace_of(answer), *WHOLE)
    assert trace_of(answer) != TRACE
    root = named(spans, "frontend POST /v1/chat/completions")
    assert (root.parent_id, root.tracestate) == ("", "")


def test_what_the_client_does_not_record_is_not_recorded(
    traced: Fleet, collector: Collector
) -> None:
    other = "1" * 32
    silent = ask(traced, {"traceparent": f"00-{other}-{CALLER}-00"})
    assert silent.headers["traceresponse"].startswith(f"00-{other}-")
    assert silent.headers["traceresponse"].endswith("-00")
    collector.trace(trace_of(ask(traced)), *WHOLE)  # came later, to the same processes
    spans = collector.wait_for(bool, "any")
    assert other not in {each.trace_id for each in spans}


def test_errors_are_told_by_their_code(traced: Fleet, collector: Collector) -> None:
    answer = ask(traced, model="none")
    assert answer.status_code == 404
    (root,) = collector.trace(trace_of(answer), WHOLE[0])
    assert root.error == root.attributes["error.type"] == "model_not_found"
    assert root.attributes["http.response.status_code"] == 404
    assert "gen_ai.request.model" not in root.attributes  # a name that the client made up


def test_a_stream_is_told_too(traced: Fleet, collector: Collector) -> None:
    answer = ask(traced, stream=True)
    spans = collector.trace(trace_of(answer), *WHOLE)
    root = named(spans, "frontend POST /v1/chat/completions")
    assert root.attributes["gen_ai.request.stream"] is True
    assert root.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert named(spans, "frontend decode").attributes["gen_ai.usage.output_tokens"] == 5


def test_vectors_are_computed(fleet: Fleet, collector: Collector) -> None:
    fleet.frontend(env=collector.environment)
    fleet.worker(*SIM, "--embedding-worker", env=collector.environment)
    fleet.wait_for_workers(1)
    body = {"model": "demo", "input": ["one", "two"]}
    answer = httpx.post(f"{fleet.url}/v1/embeddings", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    spans = collector.trace(
        trace_of(answer),
        "kvmesh-frontend POST /v1/embeddings",
        *(f"kvmesh-frontend {name}" for name in ("tokenize", "queue", "compute", "finish")),
        *("kvmesh-worker embed", "kvmesh-worker embed"),
    )
    root = named(spans, "frontend POST /v1/embeddings")
    assert root.attributes["gen_ai.operation.name"] == "embeddings"
    assert root.attributes["gen_ai.usage.input_tokens"] == answer.json()["usage"]["prompt_tokens"]


def test_a_moved_request_is_one_trace_of_both_workers(fleet: Fleet, collector: Collector) -> None:
    fleet.frontend(env=collector.environment)
    slow = ("--served-model-name", "demo", "--sim-speedup", "1", "--context-length", "4096")
    workers = {
        name: fleet.worker(*slow, "--worker-id", name, env=collector.environment)
        for name in ("w0", "w1")
    }
    fleet.wait_for_workers(2)
    lines: list[str] = []
    body = {"model": "demo", "prompt": "a", "max_tokens": 200, "stream": True}
    with httpx.stream("POST", f"{fleet.url}/v1/completions", json=body, timeout=60) as answer:
        for line in answer.iter_lines():
            lines.append(line)
            if len(lines) == 10:
                runs = on_each_worker(fleet)
                first = max(runs, key=runs.__getitem__)
                workers[first].popen.send_signal(signal.SIGKILL)
    assert lines[-2:] == ["data: [DONE]", ""]
    trace_id = answer.headers["traceresponse"].split("-")[1]
    stages = ("queue", "route", "prefill", "decode") * 2
    spans = collector.trace(
        trace_id,
        "kvmesh-frontend POST /v1/completions",
        *(f"kvmesh-frontend {stage}" for stage in stages),
        "kvmesh-worker generate",
    )
    (second,) = set(workers) - {first}
    root = named(spans, "frontend POST /v1/completions")
    (moved,) = root.events
    assert (moved[0], root.attributes["kvmesh.moves"], root.error) == ("moved", 1, "")
    assert moved[1] == {
        "kvmesh.choice": 0,
        "kvmesh.move.cause": "died",
        "kvmesh.move.from": first,
        "kvmesh.move.to": second,
        "gen_ai.usage.output_tokens": moved[1]["gen_ai.usage.output_tokens"],
    }
    decodes = [each for each in spans if (each.service, each.name) == ("kvmesh-frontend", "decode")]
    assert [each.attributes["kvmesh.worker.id"] for each in decodes] == [first, second]
    assert [each.error for each in decodes] == ["worker_lost", ""]
    assert named(spans, "worker generate").instance == second  # the dead tell nothing


def test_each_leg_of_a_divided_request_is_a_span(fleet: Fleet, collector: Collector) -> None:
    fleet.frontend(env=collector.environment)
    seeing = (*SIM_SEEING, "--sim-speedup", "0")
    for name, options in {
        "e": ("--multimodal-encode-worker",),
        "p": ("--multimodal-worker", "--disaggregation-mode", "prefill"),
        "d": ("--multimodal-worker", "--disaggregation-mode", "decode"),
    }.items():
        fleet.worker(*seeing, *options, "--worker-id", name, env=collector.environment)
    fleet.wait_for_workers(3)
    red = data_url(picture("red"))
    answer = ask(fleet, model=SEEING, messages=messages(red, "What is it?"))
    assert answer.status_code == 200, answer.text
    spans = collector.trace(
        trace_of(answer),
        WHOLE[0],
        *(f"kvmesh-frontend {stage}" for stage in (*STAGES, "encode", "hand_over")),
        *("kvmesh-worker encode", "kvmesh-worker generate", "kvmesh-worker generate"),
    )
    root = named(spans, "frontend POST /v1/chat/completions")
    for stage, worker in {"encode": "e", "prefill": "p", "hand_over": "d", "decode": "d"}.items():
        span = named(spans, f"frontend {stage}")
        assert (span.parent_id, span.attributes["kvmesh.worker.id"]) == (root.span_id, worker)
    legs = {each.instance: each for each in spans if each.kind == SERVER and each is not root}
    assert {name: leg.attributes["kvmesh.worker.stage"] for name, leg in legs.items()} == {
        "e": "encode",
        "p": "prefill",
        "d": "decode",
    }
    assert {leg.parent_id for leg in legs.values()} == {root.span_id}


def test_without_a_collector_requests_run_and_processes_end(fleet: Fleet) -> None:
    with socket.socket() as unheard:  # takes connections and never answers
        unheard.bind(("127.0.0.1", 0))
        unheard.listen()
        address = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        dead = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_BSP_SCHEDULE_DELAY": "10"}
        over_http = dead | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        frontend = fleet.frontend(env=over_http | {"OTEL_BSP_MAX_QUEUE_SIZE": "512"})
        worker = fleet.worker(*SIM, env=dead)
        fleet.wait_for_workers(1)
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda _: ask(fleet).status_code, range(200)))
        assert answers == [200] * 200
        assert (worker.stop(), frontend.stop()) == (0, 0)
    assert "the last spans were not taken" in frontend.output()


def test_spans_that_cannot_be_sent_are_a_start_error(fleet: Fleet) -> None:
    broken = {"OTEL_EXPORT_ENABLED": "true", "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}
    for process in (fleet.frontend(env=broken), fleet.worker(*SIM, env=broken)):
        assert process.popen.wait(60) == 3
        assert process.output().count("\n") == 1
        assert "OTEL_EXPORTER_OTLP_PROTOCOL must be grpc or http/protobuf" in process.output()


@pytest.mark.parametrize(
    "variable", ["OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=none", "OTEL_EXPORT_ENABLED=false"]
)
def test_spans_can_be_switched_off(fleet: Fleet, collector: Collector, variable: str) -> None:
    name, _, value = variable.partition("=")
    fleet.frontend(env=collector.environment | {name: value})
    fleet.worker(*SIM)
    fleet.wait_for_workers(1)
    assert "traceresponse" not in ask(fleet).headers
