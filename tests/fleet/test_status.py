"""What people are shown: a snapshot, and the same as events."""

import json
import signal
import urllib.error
import urllib.request
from contextlib import ExitStack
from email.message import Message
from typing import Any

import httpx
import openai
import pytest

from frontend.status.feed import WATCHERS_MAX
from tests.kit.fleet import Fleet
from tests.kit.status_feed import StatusFeed

FILES = ("/", "/status")


def ask(fleet: Fleet, path: str, **headers: str) -> tuple[int, Message, str]:
    """Status, headers and body of a GET."""
    request = urllib.request.Request(
        fleet.url + path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def states(snapshot: dict[str, Any]) -> list[str]:
    """The states of all workers that are shown."""
    return [worker["state"] for worker in snapshot["workers"]]


def latest(snapshot: dict[str, Any]) -> dict[str, Any]:
    """The latest point, once there is one."""
    return (
        snapshot["history"][-1] if snapshot["history"] else {"inter_token_ms": None, "running": -1}
    )


def test_the_snapshot_tells_workers_models_and_what_they_did(
    shared: Fleet, client: openai.OpenAI
) -> None:
    with StatusFeed(shared.http_port) as feed:
        first = next(iter(feed))
        assert states(first) == ["ready", "ready"]
        assert {worker["model"] for worker in first["workers"]} == {"demo"}
        answer = client.completions.create(model="demo", prompt="hi " * 300, max_tokens=40)
        assert answer.usage is not None
        tokens = answer.usage.completion_tokens
        counted = 0.0
        for snapshot in feed:
            (point,) = snapshot["history"]
            counted += point["tokens"]  # a second each, or hardly more
            if counted >= 0.5 * tokens:
                break
    _, told = shared.get("/status")
    (model,) = told["models"]
    assert (model["name"], model["service"], model["workers"], model["ready"]) == (
        "demo",
        "text",
        2,
        True,
    )
    assert "/v1/chat/completions" in model["endpoints"]
    assert (told["verdict"], told["reasons"], told["workers_left_out"]) == ("healthy", [], 0)
    assert sum(point["requests"] for point in told["history"]) > 0.5
    ranks = [rank for worker in told["workers"] for rank in worker["ranks"]]
    assert any(rank["hit_rate"] is not None for rank in ranks)
    assert all(rank["kv_tokens_max"] > 0 and rank["booked"] == 0 for rank in ranks)


def test_a_stream_is_counted_while_it_runs(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker("--served-model-name", "demo", "--sim-speedup", "1")
    fleet.wait_for_workers(1)
    with fleet.client() as client, StatusFeed(fleet.http_port) as feed:
        stream = client.completions.create(
            model="demo", prompt="hi", max_tokens=4000, stream=True, extra_body={"ignore_eos": True}
        )
        next(iter(stream))
        shown = feed.until(lambda told: latest(told)["inter_token_ms"] is not None)
        assert shown["history"][-1]["running"] == 1
        assert shown["workers"][0]["ranks"][0]["booked"] == 1
        assert shown["models"][0]["tokens_per_s"] > 0
        stream.close()
        feed.until(lambda told: latest(told)["running"] == 0)
    points = fleet.get("/status")[1]["history"]
    assert any(point["ttft_ms"] is not None for point in points)


def test_a_killed_worker_is_shown_as_dead_and_one_that_drains_as_leaving(fleet: Fleet) -> None:
    fleet.frontend()
    victim = fleet.worker("--served-model-name", "demo", "--worker-id", "victim")
    leaving = fleet.worker(
        "--served-model-name", "demo", "--worker-id", "leaving", "--sim-speedup", "1"
    )
    fleet.wait_for_workers(2)
    with fleet.client() as client, StatusFeed(fleet.http_port) as feed:
        victim.popen.kill()
        shown = feed.until(lambda told: bool(told["departed"]))
        (gone,) = shown["departed"]
        assert (gone["worker_id"], gone["cause"], gone["planned"]) == ("victim", "died", False)
        assert [worker["worker_id"] for worker in shown["workers"]] == ["leaving"]
        stream = client.completions.create(
            model="demo", prompt="hi", max_tokens=4000, stream=True, extra_body={"ignore_eos": True}
        )
        next(iter(stream))
        leaving.popen.send_signal(signal.SIGTERM)
        shown = feed.until(lambda told: states(told) == ["draining"])
        assert shown["workers"][0]["why"]
        assert shown["verdict"] == "unhealthy"
        stream.close()
        shown = feed.until(lambda told: len(told["departed"]) == 2)
        assert (shown["departed"][0]["worker_id"], shown["departed"][0]["planned"]) == (
            "leaving",
            True,
        )


def test_errors_are_told_in_words_that_are_not_the_clients(
    shared: Fleet, client: openai.OpenAI
) -> None:
    secret = "<script>tell-nobody</script>"
    for _ in range(2):
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(
                model=secret, messages=[{"role": "user", "content": secret}]
            )
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="demo", prompt=secret, max_tokens=10**6, user=secret)
    _, _, text = ask(shared, "/status")
    assert "tell-nobody" not in text
    errors = {error["code"]: error for error in json.loads(text)["errors"]}
    lost = errors["model_not_found"]
    assert (lost["count"], lost["status"], lost["model"]) == (2, 404, "")
    assert lost["endpoint"] == "/v1/chat/completions"
    assert "not served here" in lost["what"]
    assert errors["context_length_exceeded"]["model"] == "demo"


def test_a_slow_request_is_found_by_its_id(shared: Fleet, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="demo",
        messages=[{"role": "user", "content": "hi " * 50}],
        max_tokens=30,
        stream=True,
        extra_headers={"x-request-id": "mine-alone"},
    )
    assert raw.headers["x-request-id"] == "mine-alone"
    for _ in raw.parse():
        pass
    shared.wait_until(lambda: shared.get("/status/requests/mine-alone")[0] == 200, "it has ended")
    _, told = shared.get("/status/requests/mine-alone")
    assert told["output_tokens"] == 30
    assert told["prompt_tokens"] > 50
    assert told["worker"].endswith("/0")
    assert 0 <= told["prepared_s"] <= told["sent_s"] <= told["ttft_s"] <= told["last_token_s"]
    assert told["last_token_s"] <= told["took_s"]
    assert shared.get(f"/status/requests/{told['request_id']}") == (200, told)
    slowest = shared.get("/status")[1]["slowest"]
    assert [each["took_s"] for each in slowest] == sorted(
        (each["took_s"] for each in slowest), reverse=True
    )
    assert "mine-alone" not in json.dumps(slowest)
    status, error = shared.get("/status/requests/nobodys")
    assert (status, error["error"]["code"]) == (404, "route_not_found")


def test_as_many_watch_as_may_and_a_place_comes_free_again(shared: Fleet) -> None:
    with ExitStack() as stack:
        feeds = [StatusFeed(shared.http_port) for _ in range(WATCHERS_MAX)]
        for feed in feeds:
            stack.enter_context(feed)
            assert feed.answer.status == 200
        head = httpx.head(f"{shared.url}/status/events")  # which takes no place
        assert head.status_code == 200
        with StatusFeed(shared.http_port) as another:
            assert another.answer.status == 503
            assert another.answer.getheader("retry-after") is not None
            assert json.load(another.answer)["error"]["code"] == "overloaded"
    shared.wait_until(lambda: _admitted(shared), "a place is free")


def test_who_asks_for_the_head_alone_holds_no_place(shared: Fleet) -> None:
    for _ in range(2 * WATCHERS_MAX):
        head = httpx.head(f"{shared.url}/status/events")
        assert (head.status_code, head.headers["cache-control"]) == (200, "no-cache")
    assert _admitted(shared)


def _admitted(fleet: Fleet) -> bool:
    with StatusFeed(fleet.http_port) as feed:
        return feed.answer.status == 200


def test_draining_ends_every_feed_and_lets_nobody_watch_anew(fleet: Fleet) -> None:
    frontend = fleet.frontend("--graceful-shutdown-grace-period-secs", "600")
    fleet.wait_until(lambda: fleet.get("/live")[0] == 200, "it is up")
    with StatusFeed(fleet.http_port) as feed:
        next(iter(feed))
        frontend.popen.send_signal(signal.SIGTERM)
        assert len(list(feed)) < 600  # it ends, long before the grace
        assert fleet.get("/status")[1]["draining"] is True
        with StatusFeed(fleet.http_port) as another:
            assert another.answer.status == 503
    assert frontend.stop() == 0


def test_the_page_runs_nothing_that_is_not_its_own_and_is_kept_by_its_tag(shared: Fleet) -> None:
    status, headers, text = ask(shared, "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert ask(shared, "/", If_None_Match=headers["etag"])[0] == 304
    assert "kvmesh" in text


def test_a_name_that_is_not_this_hosts_is_shown_nothing(shared: Fleet) -> None:
    for path in ("/", "/status", "/status/events", "//status", "/status/requests/any"):
        assert ask(shared, path, Host="rebound.example")[0] == 403
    for path in FILES:
        assert ask(shared, path, Host=f"localhost:{shared.http_port}")[0] == 200
    assert ask(shared, "/health", Host="proxied.example")[0] == 200


def test_it_can_be_switched_off(fleet: Fleet) -> None:
    frontend = fleet.frontend("--no-status-page")
    fleet.wait_until(lambda: fleet.get("/live")[0] == 200, "it is up")
    for path in (*FILES, "/status/events", "/status/requests/any"):
        assert ask(fleet, path)[0] == 404
    assert frontend.stop() == 0
