"""What clients get wrong is said in OpenAI's form, with the right status, before the first byte."""

import contextlib
import http.client
import json
import socket
from typing import Any

import pytest

from starter.pages import http_metric
from tests.kit.fleet import Fleet

CHAT = "/v1/chat/completions"
USER = [{"role": "user", "content": "hi"}]


def post(
    fleet: Fleet, path: str, body: Any, headers: dict[str, str] | None = None, method: str = "POST"
) -> tuple[int, Any, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", fleet.http_port, timeout=30)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(
            method, path, data, {"content-type": "application/json"} | (headers or {})
        )
        answer = connection.getresponse()
        return (
            answer.status,
            json.loads(answer.read()),
            {name.lower(): value for name, value in answer.getheaders()},
        )
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"", 400, "invalid_json", None),
        (b"{", 400, "invalid_json", None),
        (
            b'{"model": "demo", "messages": [{"role": "user", "content": "\xff"}]}',
            400,
            "invalid_json",
            None,
        ),
        (b"[" * 100_000, 400, "invalid_value", None),
        (b'{"model": "demo", "messages": ' + b"[" * 50_000, 400, "invalid_value", "messages[0]"),
        (b'{"model": "demo", "messages": [{"role": ' + b"[" * 50_000, 400, "invalid_json", None),
        ([], 400, "invalid_value", None),
        ({"model": "demo"}, 400, "invalid_value", "messages"),
        ({"messages": USER}, 400, "invalid_value", "model"),
        ({"model": "demo", "messages": []}, 400, "invalid_value", "messages"),
        ({"model": "demo", "messages": "hi"}, 400, "invalid_value", "messages"),
        (
            {"model": "demo", "messages": [{"role": "king", "content": "hi"}]},
            400,
            "invalid_value",
            "messages[0].role",
        ),
        (
            {"model": "demo", "messages": [{"role": [], "content": "hi"}]},
            400,
            "invalid_value",
            "messages[0].role",
        ),
        (
            {"model": "demo", "messages": [{"role": "user"}]},
            400,
            "invalid_value",
            "messages[0].content",
        ),
        (
            {"model": "demo", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            400,
            "invalid_value",
            "messages[0].content[0].image_url.url",
        ),
        (
            {"model": "demo", "messages": USER, "max_tokens": "many"},
            400,
            "invalid_value",
            "max_tokens",
        ),
        ({"model": "demo", "messages": USER, "max_tokens": 0}, 400, "invalid_value", "max_tokens"),
        (
            {"model": "demo", "messages": USER, "temperature": 3},
            400,
            "invalid_value",
            "temperature",
        ),
        ({"model": "demo", "messages": USER, "n": 1_000_000_000}, 400, "invalid_value", "n"),
        (
            {"model": "demo", "messages": USER, "stream_options": {"include_usage": True}},
            400,
            "invalid_value",
            "stream_options",
        ),
        (
            {"model": "demo", "messages": USER, "top_logprobs": 2},
            400,
            "invalid_value",
            "top_logprobs",
        ),
        (
            {"model": "demo", "messages": USER, "logit_bias": {"x": 1}},
            400,
            "invalid_value",
            "logit_bias",
        ),
        (
            {"model": "demo", "messages": USER, "logit_bias": {"9" * 5000: 1}},
            400,
            "invalid_value",
            "logit_bias",
        ),
        (
            {"model": "demo", "messages": USER, "stop_token_ids": [4_000_000_000]},
            400,
            "invalid_value",
            "stop_token_ids",
        ),
        (
            {"model": "demo", "messages": USER, "min_tokens": 9, "max_tokens": 3},
            400,
            "invalid_value",
            "min_tokens",
        ),
        (
            {"model": "demo", "messages": USER, "chat_template_kwargs": {"messages": "x"}},
            400,
            "invalid_value",
            "chat_template_kwargs",
        ),
        ({"model": "other", "messages": USER}, 404, "model_not_found", "model"),
        (
            {"model": "demo", "messages": USER, "max_tokens": 5000},
            400,
            "context_length_exceeded",
            "messages",
        ),
        (
            {"model": "demo", "messages": [{"role": "user", "content": "x" * 4096 * 513}]},
            400,
            "context_length_exceeded",
            "messages",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_chat_request_gets_its_status_and_names_its_field(
    shared: Fleet, body: Any, status: int, code: str, param: str | None, stream: bool
) -> None:
    if isinstance(body, dict):
        body = body | ({"stream": True} if stream and "stream_options" not in body else {})
    answered, content, headers = post(shared, CHAT, body)
    error = content["error"]
    assert (answered, error["code"], error["param"]) == (status, code, param)
    assert set(error) == {"message", "type", "param", "code"}
    assert headers["content-type"] == "application/json"
    assert not any(
        leak in json.dumps(content) for leak in ("Traceback", "/site-packages", "0x7f", ".py")
    )


def test_a_prompt_beyond_the_context_tells_both_numbers(shared: Fleet) -> None:
    status, content, _ = post(shared, "/v1/completions", {"model": "demo", "prompt": [7] * 4100})
    assert (status, content["error"]["code"]) == (400, "context_length_exceeded")
    assert "4096" in content["error"]["message"]
    assert "4100" in content["error"]["message"]


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        ([], "prompt"),
        ("", "prompt"),
        ([[]], "prompt[0]"),
        (["a", 1], "prompt"),
        ([1, -1], "prompt[1]"),
        ([2_000_000], "prompt"),
        (7, "prompt"),
    ],
)
def test_a_bad_prompt_is_named(shared: Fleet, prompt: Any, param: str) -> None:
    status, content, _ = post(shared, "/v1/completions", {"model": "demo", "prompt": prompt})
    assert (status, content["error"]["param"]) == (400, param)


def test_a_misspelt_parameter_is_named_also_beside_an_error(shared: Fleet) -> None:
    body = {"model": "demo", "messages": USER, "max_token": 4, "max_tokens": 1}
    status, _, headers = post(shared, CHAT, body)
    assert (status, headers["x-kvmesh-ignored"]) == (200, "max_token")
    status, _, headers = post(shared, CHAT, body | {"model": "nobody"})
    assert (status, headers["x-kvmesh-ignored"]) == (404, "max_token")


def test_unknown_paths_and_methods_are_said_in_the_same_form(shared: Fleet) -> None:
    status, content, _ = post(shared, "/v1/nothing", {})
    assert (status, content["error"]["code"]) == (404, "route_not_found")
    status, content, headers = post(shared, CHAT, b"", method="GET")
    assert (status, content["error"]["code"], headers["allow"]) == (
        405,
        "method_not_allowed",
        "OPTIONS, POST",
    )
    status, content, headers = post(shared, "/v1/models", b"")
    assert (status, content["error"]["code"], headers["allow"]) == (
        405,
        "method_not_allowed",
        "GET, HEAD, OPTIONS",
    )


def test_a_form_is_refused_with_the_header_to_set(shared: Fleet) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    status, content, _ = post(shared, CHAT, {"model": "demo", "messages": USER}, form)
    assert (status, content["error"]["code"]) == (415, "unsupported_media_type")
    assert "content-type: application/json" in content["error"]["message"]


def test_template_kwargs_may_bear_the_names_of_our_own_parameters(shared: Fleet) -> None:
    status, _, _ = post(
        shared,
        CHAT,
        {"model": "demo", "messages": USER, "max_tokens": 1, "chat_template_kwargs": {"self": 1}},
    )
    assert status == 200


def test_the_request_id_is_echoed_or_made(shared: Fleet) -> None:
    _, _, headers = post(
        shared,
        CHAT,
        {"model": "demo", "messages": USER, "max_tokens": 1},
        {"x-request-id": "abc-123"},
    )
    assert headers["x-request-id"] == "abc-123"
    _, content, headers = post(shared, CHAT, {"model": "demo", "messages": USER, "max_tokens": 1})
    assert content["id"] == "chatcmpl-" + headers["x-request-id"]
    _, _, headers = post(
        shared, CHAT, {"model": "other", "messages": USER}, {"x-request-id": "on-errors-too"}
    )
    assert headers["x-request-id"] == "on-errors-too"


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/none", "/nowhere", "/health", "/openapi.json"]
)
def test_the_request_id_is_on_every_other_answer_too(shared: Fleet, path: str) -> None:
    _, _, headers = post(shared, path, b"", {"x-request-id": "abc-123"}, method="GET")
    assert headers["x-request-id"] == "abc-123"
    _, _, headers = post(shared, path, b"", method="GET")
    assert len(headers["x-request-id"]) == 32


def test_the_requests_that_wait_are_counted_at_the_scrape(shared: Fleet) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared.http_port, timeout=30)
    connection.request("GET", "/metrics")
    assert (
        b'\nkvmesh_frontend_queued_requests{model="demo"} 0.0\n' in connection.getresponse().read()
    )
    connection.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_cap_is_refused(fleet: Fleet, chunked: bool) -> None:
    fleet.frontend("--body-limit-mb", "1")
    fleet.wait_until(lambda: fleet.get("/live")[0] == 200, "frontend up")
    connection = http.client.HTTPConnection("127.0.0.1", fleet.http_port, timeout=30)
    body: Any = (b" " * 65536 for _ in range(40)) if chunked else b" " * 1_500_000
    # refused before all of it was sent; the answer is there to read
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.request(
            "POST", CHAT, body, {"content-type": "application/json"}, encode_chunked=chunked
        )
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["error"]["code"]) == (413, "body_too_large")
    connection.close()


def test_without_a_worker_the_answer_is_503_with_retry_after(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.wait_until(lambda: fleet.get("/live")[0] == 200, "frontend up")
    status, content, headers = post(fleet, CHAT, {"model": "demo", "messages": USER})
    assert (status, content["error"]["code"], headers["retry-after"]) == (503, "no_worker", "2")
    assert fleet.get("/ready")[0] == 503


def test_a_client_that_stops_reading_is_given_up_at_its_deadline(fleet: Fleet) -> None:
    """64 paced streams that outlast the deadline; echoes of 60 kB each fill the buffers on the way
    at once.
    """
    fleet.frontend("--request-timeout", "3")
    fleet.worker("--served-model-name", "demo", "--sim-speedup", "10", "--context-length", "65536")
    fleet.wait_for_workers(1)
    asked = {
        "model": "demo",
        "prompt": "\x01" * 10_000,
        "echo": True,
        "max_tokens": 50_000,
        "n": 64,
        "stream": True,
        "ignore_eos": True,
    }
    body = json.dumps(asked).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    )

    def given_up() -> bool:
        errors = http_metric(
            fleet.url, "kvmesh_frontend_request_errors_total", code="deadline_exceeded"
        )
        return errors == 1 and not http_metric(fleet.url, "dynamo_frontend_inflight_requests")

    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", fleet.http_port))
        client.sendall(head + body)
        fleet.wait_until(given_up, "the request given up", wait_s_max=20)
