import json
import math
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from bench.kit import usage
from bench.kit.load import LoadFailed, run_load
from bench.kit.loadgen.build import build
from starter.ports import free_port
from starter.waiting import wait_until

CHAT = {"messages": [], "max_tokens": 3}
STREAM = {**CHAT, "max_tokens": 20, "stream": True}
EVENT = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":7,"total_tokens":16,'
    b'"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
)
DONE = b"data: [DONE]\n\n"
SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def nearest_rank(values: list[float], q: float) -> float:
    return sorted(values)[math.ceil(q * len(values)) - 1]


def test_it_counts_every_request_of_a_closed_loop(bare_server, bodies):
    result = run_load(bare_server(), bodies(CHAT), concurrency=7, requests=500)
    assert result["ok"] == result["started"] == 500
    assert result["status"] == {"200": 500}
    assert result["tokens"] == 1500
    assert result["e2e_ms"]["count"] == 500


def test_it_counts_the_events_and_tokens_of_streams(bare_server, bodies):
    result = run_load(bare_server(), bodies(STREAM), concurrency=5, requests=50)
    assert result["ok"] == 50
    assert result["content_events"] == result["tokens"] == 50 * 20
    assert result["events"] == 50 * 21  # and one of usage each
    assert result["with_usage"] == 50
    assert result["ttft_ms"]["count"] == 50
    assert result["gap_ms"]["count"] == 50 * 19


def test_many_events_in_one_chunk_are_counted_one_by_one(bare_server, bodies):
    result = run_load(
        bare_server("--pack", "16"),
        bodies({**STREAM, "max_tokens": 100}),
        concurrency=3,
        requests=9,
    )
    assert result["content_events"] == result["tokens"] == 900


def test_bodies_are_taken_in_order_and_cycled(bare_server, bodies, tmp_path):
    run_load(
        bare_server(),
        bodies({**CHAT, "max_tokens": 1}, {**CHAT, "max_tokens": 2}),
        requests=5,
        records=tmp_path / "records.tsv",
    )
    rows = [line.split("\t") for line in (tmp_path / "records.tsv").read_text().splitlines()[1:]]
    assert [(row[4], row[6]) for row in rows] == [
        ("0", "1"),
        ("1", "2"),
        ("0", "1"),
        ("1", "2"),
        ("0", "1"),
    ]


def test_large_bodies_arrive_whole(bare_server, bodies):
    body = {"messages": [{"role": "user", "content": "x" * 3_000_000}], "max_tokens": 11}
    assert run_load(bare_server(), bodies(body), concurrency=2, requests=6)["tokens"] == 66


def test_percentiles_are_those_of_the_records(bare_server, bodies, tmp_path):
    records = tmp_path / "records.tsv"
    result = run_load(bare_server(), bodies(STREAM), concurrency=4, requests=400, records=records)
    header, *lines = records.read_text().splitlines()
    columns = {
        name: [float(line.split("\t")[at]) for line in lines]
        for at, name in enumerate(header.split("\t"))
    }
    for name in ("ttft_ms", "e2e_ms", "tpot_ms"):
        for percentile, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
            assert result[name][percentile] == pytest.approx(
                nearest_rank(columns[name], q), abs=2e-4
            )


def test_histogram_percentiles_are_within_half_a_percent(c_program):
    rng = random.Random(5)
    values = [int(10 ** rng.uniform(1, 10)) for _ in range(5000)]
    source = """
    #include "stats.h"
    static Histogram h;
    int main(void) {
        unsigned long long ns;
        while (scanf("%llu", &ns) == 1) histogram_add(&h, ns);
        printf("{"), histogram_json(stdout, "gap", &h), printf("}");
    }"""
    found = json.loads(c_program(source, "\n".join(map(str, values))))["gap"]
    assert found["count"] == 5000
    for percentile, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert found[percentile] == pytest.approx(
            nearest_rank([value * 1e-6 for value in values], q), rel=0.005
        )
    assert found["max"] == pytest.approx(max(values) * 1e-6, rel=1e-4)


@pytest.mark.parametrize("piece_bytes", [1, 7, 100_000])
def test_a_response_is_read_alike_however_it_is_cut(scripted_server, bodies, piece_bytes):
    answer = (
        SSE_HEAD
        + chunk(ROLE + EVENT + EVENT[:9])
        + chunk(EVENT[9:])
        + chunk(b": ping\n\n")
        + chunk(USAGE + DONE)
        + b"0\r\n\r\n"
    )
    port = scripted_server(
        [answer[at : at + piece_bytes] for at in range(0, len(answer), piece_bytes)]
    )
    result = run_load(port, bodies(STREAM), requests=3)
    assert (result["ok"], result["events"], result["content_events"]) == (3, 12, 6)
    assert (result["tokens"], result["prompt_tokens"], result["cached_tokens"]) == (21, 27, 12)


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([SSE_HEAD, chunk(EVENT), b"0\r\n\r\n"], "truncated"),
        (
            [SSE_HEAD, chunk(b'data: {"error":{"message":"no"}}\n\n' + DONE), b"0\r\n\r\n"],
            "stream_error",
        ),
        ([SSE_HEAD, chunk(EVENT)], "closed"),
        ([SSE_HEAD, b"zz\r\n"], "parse"),
        ([b"nonsense\r\n\r\n"], "parse"),
        ([], "closed"),
    ],
)
def test_broken_answers_are_errors_of_their_kind(scripted_server, bodies, pieces, error):
    result = run_load(scripted_server(pieces), bodies(STREAM), requests=4, errors_allowed=True)
    assert result["ok"] == 0
    assert {name: count for name, count in result["errors"].items() if count} == {error: 4}


def test_statuses_other_than_2xx_are_no_successes(scripted_server, bodies):
    port = scripted_server(
        [b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"]
    )
    result = run_load(port, bodies(CHAT), requests=4, errors_allowed=True)
    assert (result["ok"], result["status"]) == (0, {"503": 4})
    with pytest.raises(LoadFailed, match="503"):
        run_load(port, bodies(CHAT), requests=4)


def test_a_silent_server_is_a_time_out(bare_server, bodies):
    result = run_load(
        bare_server("--pace-us", "60000000"),
        bodies(STREAM),
        requests=2,
        concurrency=2,
        timeout_s=0.2,
        errors_allowed=True,
    )
    assert result["errors"]["timeout"] == 2


def test_an_open_loop_keeps_its_rate_and_counts_waiting_as_latency(bare_server, bodies):
    # One connection and 5 ms of service: 400 arrivals a second pile up, which a closed loop would
    # hide.
    port = bare_server("--pace-us", "5000")
    closed = run_load(port, bodies({**STREAM, "max_tokens": 1}), concurrency=1, requests=60)
    opened = run_load(
        port, bodies({**STREAM, "max_tokens": 1}), concurrency=1, requests=60, rate=400
    )
    assert opened["ok"] == 60
    assert opened["e2e_ms"]["p90"] > 5 * closed["e2e_ms"]["p50"]


@pytest.mark.parametrize("host", ["10.0.0.1", "0.0.0.0", "128.0.0.1", "example.com", "::1"])
def test_it_refuses_hosts_that_are_not_loopback(bodies, host):
    command = [
        build("loadgen"),
        "--host",
        host,
        "--port",
        "80",
        "--requests",
        "1",
        "--bodies",
        bodies(CHAT),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "loopback" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--requests"], ["--what", "1"], ["--concurrency", "20000"], ["--bodies", os.devnull]],
)
def test_bad_arguments_are_refused(bodies, arguments):
    command = [
        build("loadgen"),
        "--port",
        "1",
        "--requests",
        "1",
        "--bodies",
        bodies(CHAT),
        *arguments,
    ]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2


def test_nobody_listening_ends_the_run(bodies):
    with pytest.raises(LoadFailed, match="nobody answers"):
        run_load(free_port(), bodies(CHAT), concurrency=4, duration_s=60)


def test_sigint_ends_a_run_with_what_was_measured(bare_server, bodies, tmp_path: Path):
    bodies_file = bodies(CHAT)
    out = tmp_path / "out.json"
    with out.open("w") as sink:
        command = [
            build("loadgen"),
            "--port",
            str(bare_server()),
            "--duration-s",
            "60",
            "--concurrency",
            "2",
            "--bodies",
            bodies_file,
        ]
        running = subprocess.Popen(command, stdout=sink)
        wait_until(lambda: usage.cpu_s(running.pid) > 0.1, "loadgen")
        running.send_signal(signal.SIGINT)
        assert running.wait(10) == 130
    result = json.loads(out.read_text())
    assert result["interrupted"] is True
    assert result["ok"] > 100
