"""What clients, proxies and browsers expect of HTTP itself: paths, methods, encodings, old
versions, silence, other origins.
"""

import gzip
import json
import re
import resource
import socket
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.kit.fleet import Fleet

CHAT = {
    "model": "demo",
    "messages": [{"role": "user", "content": "Grüße, 你好"}],
    "max_tokens": 4,
    "temperature": 0,
}
TYPE = {"content-type": "application/json"}


@pytest.fixture
def http(shared: Fleet) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shared.url, timeout=60) as client:
        yield client


def content_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def error_of(answer: httpx.Response) -> dict[str, Any]:
    return answer.json()["error"]


@pytest.fixture
def plain(http: httpx.Client) -> str:
    return content_of(http.post("/v1/chat/completions", json=CHAT))


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions/", "//v1/chat/completions", "/v1//chat///completions//"]
)
def test_slashes_too_many_do_not_matter(http: httpx.Client, plain: str, path: str) -> None:
    url = httpx.URL(str(http.base_url)).copy_with(raw_path=path.encode())
    assert content_of(http.post(url, json=CHAT)) == plain
    assert http.get("/v1/models/").json() == http.get("/v1/models").json()
    assert http.get("/v1//models/demo//ready/").status_code == 200
    assert error_of(http.get("/v1/nothing/"))["code"] == "route_not_found"


def test_escaped_slashes_are_part_of_a_name(http: httpx.Client) -> None:
    assert "'/models//x/'" in error_of(http.get("/v1/models/%2Fmodels%2F%2Fx%2F"))["message"]


@pytest.mark.parametrize(
    "path", ["/health", "/live", "/v1/models", "/v1/models/demo", "/metrics", "/docs", "/version"]
)
def test_head_is_get_without_a_body(http: httpx.Client, path: str) -> None:
    head, get = http.head(path), http.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


def test_methods_are_told_and_refused(http: httpx.Client) -> None:
    for path, allowed in (
        ("/v1/chat/completions", "OPTIONS, POST"),
        ("/health_generate", "GET, HEAD, OPTIONS"),
        ("/v1/models", "GET, HEAD, OPTIONS"),
    ):
        options, refused = http.options(path), http.put(path)
        assert (options.status_code, options.content, options.headers["allow"]) == (
            204,
            b"",
            allowed,
        )
        assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
        assert "access-control-allow-origin" not in options.headers
    assert http.options("/v1/nothing").status_code == 404
    assert http.head("/v1/chat/completions").status_code == 405


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("X-GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),
        ("identity", bytes),
    ],
)
def test_compressed_bodies_are_unpacked(
    http: httpx.Client, plain: str, coding: str, pack: Any
) -> None:
    body = pack(json.dumps(CHAT).encode())
    assert (
        content_of(
            http.post(
                "/v1/chat/completions", content=body, headers=TYPE | {"content-encoding": coding}
            )
        )
        == plain
    )


@pytest.mark.parametrize("coding", ["zstd", "br", "gzip, gzip"])
def test_another_coding_is_named_and_those_taken_are_told(http: httpx.Client, coding: str) -> None:
    answer = http.post(
        "/v1/chat/completions", content=b"x", headers=TYPE | {"content-encoding": coding}
    )
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip, deflate")
    assert repr(coding) in error_of(answer)["message"]


def test_a_bomb_is_refused_at_the_bound_of_bodies(
    http: httpx.Client, client: openai.OpenAI
) -> None:
    packed = gzip.compress(bytes(100_000_000))
    assert len(packed) < 100_000
    answer = http.post(
        "/v1/chat/completions", content=packed, headers=TYPE | {"content-encoding": "gzip"}
    )
    assert (answer.status_code, error_of(answer)["code"]) == (413, "body_too_large")
    assert client.models.list().data


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("utf-8", "utf-8-sig"),
        ("", "utf-8-sig"),
        ("UTF-16", "utf-16"),
        ('"utf-16le"', "utf-16-le"),
        ("gb18030", "gb18030"),
    ],
)
def test_declared_charsets_and_byte_order_marks(
    http: httpx.Client, plain: str, charset: str, codec: str
) -> None:
    kind = "application/json" + (f"; charset={charset}" if charset else "")
    body = json.dumps(CHAT, ensure_ascii=False).encode(codec)
    assert (
        content_of(http.post("/v1/chat/completions", content=body, headers={"content-type": kind}))
        == plain
    )


def test_a_charset_that_is_none_is_refused_by_name(http: httpx.Client) -> None:
    answer = http.post(
        "/tokenize", content=b"{}", headers={"content-type": "application/json; charset=rot13"}
    )
    assert answer.status_code == 415
    assert "'rot13'" in error_of(answer)["message"]


def test_an_http_1_0_client_gets_its_stream_unchunked(shared: Fleet) -> None:
    body = json.dumps(CHAT | {"stream": True}).encode()
    head = (
        b"POST /v1/chat/completions HTTP/1.0\r\ncontent-type: "
        b"application/json\r\ncontent-length: %d\r\n\r\n"
    ) % len(body)
    with closing(
        socket.create_connection(("127.0.0.1", shared.http_port), timeout=30)
    ) as connection:
        connection.sendall(head + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    headers, _, events = answer.partition(b"\r\n\r\n")
    assert headers.startswith(b"HTTP/1.1 200")
    assert b"transfer-encoding" not in headers.lower()
    assert b"connection: close" in headers.lower()
    assert events.startswith(b"data: {")
    assert events.endswith(b"data: [DONE]\n\n")


def test_pages_about_the_server(http: httpx.Client, shared: Fleet) -> None:
    _, document = shared.get("/openapi.json")
    assert http.get("/version").json() == {"version": document["info"]["version"]}
    about = http.get("/tokenizer_info", params={"model": "demo"}).json()
    assert "messages" in about["chat_template"]
    assert isinstance(about["eos_token"], str)
    assert http.get("/tokenizer_info", params={"model": "other"}).status_code == 404
    ready = http.get("/v1/models/demo/ready")
    assert (ready.status_code, ready.json()) == (
        200,
        {"id": "demo", "object": "model", "ready": True},
    )
    assert http.get("/v1/models/other/ready").status_code == 404
    assert http.get("/health_generate").json() == {"status": "healthy", "models": ["demo"]}
    assert http.head("/health_generate").status_code == 200


def test_an_embedding_endpoint_has_its_short_names(http: httpx.Client) -> None:
    for path in ("/rerank", "/v1/rerank"):
        assert (
            "generates text"
            in error_of(http.post(path, json={"model": "demo", "query": "a", "documents": ["b"]}))[
                "message"
            ]
        )
    for path in ("/score", "/v1/score"):
        assert (
            "generates text"
            in error_of(http.post(path, json={"model": "demo", "text_1": "a", "text_2": ["b"]}))[
                "message"
            ]
        )


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet whose tokens take their time, whose streams are never silent for long, and which a
    page may call.
    """
    fleet = Fleet(tmp_path_factory.mktemp("slow"))
    fleet.frontend(
        "--sse-keep-alive",
        "0.05",
        "--http-keep-alive",
        "2",
        "--cors-origin",
        "https://chat.example",
        "--allow-abort-all",
    )
    fleet.worker("--served-model-name", "demo", "--sim-speedup", "0.04")
    fleet.wait_for_workers(1)
    yield fleet
    fleet.stop()


def test_a_silent_stream_gets_comments_that_clients_skip(slow: Fleet) -> None:
    body = CHAT | {"stream": True, "max_tokens": 2}
    with httpx.stream("POST", slow.url + "/v1/chat/completions", json=body, timeout=60) as answer:
        lines = list(answer.iter_lines())
    first = next(index for index, line in enumerate(lines) if line.startswith("data: "))
    assert lines[:2] == [": keep-alive", ""]
    assert ": keep-alive" in lines[first:]
    with slow.client() as client:
        chunks = list(client.chat.completions.create(**body))  # type: ignore[call-overload]
    assert chunks[-1].choices[0].finish_reason == "length"
    anthropic = {"model": "demo", "max_tokens": 2, "messages": CHAT["messages"], "stream": True}
    for path, other in (
        ("/v1/messages", anthropic),
        ("/v1/responses", {"model": "demo", "input": "x", "stream": True, "max_output_tokens": 2}),
    ):
        assert httpx.post(slow.url + path, json=other, timeout=60).text.startswith(
            ": keep-alive\n\n"
        )


def test_an_idle_connection_is_kept_for_as_long_as_it_was_set(slow: Fleet) -> None:
    with socket.create_connection(("127.0.0.1", slow.http_port), timeout=30) as connection:
        connection.sendall(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = bytearray()
        while piece := connection.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" not in answer


def test_an_error_behind_a_comment_is_an_event(slow: Fleet) -> None:
    answer = httpx.post(
        slow.url + "/v1/chat/completions",
        json=CHAT | {"stream": True, "max_tokens": 500},
        headers={"x-request-timeout-ms": "300"},
        timeout=60,
    )
    assert answer.status_code == 200
    assert answer.text.count("deadline_exceeded") == 1
    assert answer.text.endswith("data: [DONE]\n\n")


def test_a_response_that_fails_behind_a_comment_has_its_first_events(slow: Fleet) -> None:
    with slow.client(default_headers={"x-request-timeout-ms": "100"}) as client:
        kinds = [
            event.type for event in client.responses.create(model="demo", input="x", stream=True)
        ]
    assert kinds == ["response.created", "response.in_progress", "response.failed"]


def test_what_takes_every_line_for_json_gets_none(slow: Fleet) -> None:
    body = {"text": "x", "sampling_params": {"max_new_tokens": 1}, "stream": True}
    assert httpx.post(slow.url + "/generate", json=body, timeout=60).text.startswith("data: ")


def test_a_page_of_a_named_origin_may_call(slow: Fleet) -> None:
    origin = {"origin": "https://chat.example"}
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    preflight = httpx.options(slow.url + "/v1/chat/completions", headers=origin | asked)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (
        200,
        origin["origin"],
    )
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    for path in ("/v1/models", "/v1/nothing"):
        answer = httpx.get(slow.url + path, headers=origin)
        assert answer.headers["access-control-allow-origin"] == origin["origin"]
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
    assert (
        "access-control-allow-origin"
        not in httpx.get(
            slow.url + "/v1/models", headers={"origin": "https://evil.example"}
        ).headers
    )


@pytest.mark.parametrize("name", ["answer's id", "x-request-id", "all"])
def test_a_request_is_aborted_by_name_and_ends_with_what_it_has(slow: Fleet, name: str) -> None:
    body = CHAT | {"stream": True, "max_tokens": 500}
    reasons: list[str | None] = []
    with httpx.stream(
        "POST",
        slow.url + "/v1/chat/completions",
        json=body,
        headers={"x-request-id": "mine"},
        timeout=60,
    ) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line.removeprefix("data: "))
            reasons += [choice["finish_reason"] for choice in chunk["choices"]]
            if len(reasons) == 1:
                asked = {
                    "answer's id": {"rid": chunk["id"]},
                    "x-request-id": {"rid": "mine"},
                    "all": {"abort_all": True},
                }[name]
                assert httpx.post(slow.url + "/abort_request", json=asked).json() == {"aborted": 1}
    assert (reasons[-1], set(reasons[:-1])) == ("abort", {None})
    assert httpx.post(slow.url + "/abort_request", json={"rid": "mine"}).json() == {"aborted": 0}
    slow.wait_until(
        lambda: slow.get("/health")[1]["workers"][0]["requests"] == [0], "the engine is free"
    )


def test_one_client_does_not_abort_the_requests_of_all(http: httpx.Client) -> None:
    assert error_of(http.post("/abort_request", json={"abort_all": True}))["param"] == "abort_all"
    assert error_of(http.post("/abort_request", json={}))["param"] == "rid"


def test_a_frozen_engine_fails_the_probe_and_open_files_are_as_many_as_allowed(
    fleet: Fleet,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        frontend = fleet.frontend("--request-timeout", "1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    fleet.worker(
        "--served-model-name",
        "demo",
        "--sim-fault",
        "hang-after-tokens=0",
        "--no-health-check-enabled",
    )
    fleet.wait_for_workers(1)
    assert httpx.get(fleet.url + "/health_generate", timeout=60).status_code == 504
    limits = Path(f"/proc/{frontend.popen.pid}/limits").read_text()
    assert next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[
        3:5
    ] == [str(hard), str(hard)]
    assert "open files" not in frontend.output()


def test_a_request_leaves_one_line_when_it_has_ended(shared: Fleet, http: httpx.Client) -> None:
    def lines(request_id: str) -> list[str]:
        return [
            line for line in shared.processes[0].output().splitlines() if f" {request_id} " in line
        ]

    asked = CHAT | {"n": 2, "stream": True}
    http.post(
        "/v1/chat/completions", json=asked, headers={"x-request-id": "my-own"}
    ).raise_for_status()
    http.post(
        "/v1/chat/completions", json=CHAT | {"model": "a b\nc"}, headers={"x-request-id": "nobody"}
    )
    shared.wait_until(lambda: bool(lines("nobody")), "both are logged")
    (line,) = lines("my-own")
    assert re.search(
        r"I frontend\.requests: my-own /v1/chat/completions model=demo worker=\S+/0(,\S+/0)? "
        r"prompt=\d+ cached=\d+ completion=8 moves=0"
        r" queued=0\.\d{3} prefill=\d\.\d{3} first=\d\.\d{3} gap_p50=\d\.\d{4}"
        r" gap_p99=\d\.\d{4} took=\d\.\d{3} length$",
        line,
    ), line
    (line,) = lines("nobody")
    assert re.search(
        r" nobody /v1/chat/completions model=- took=\d\.\d{3} model_not_found$", line
    ), line
