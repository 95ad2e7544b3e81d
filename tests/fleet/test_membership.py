"""Workers and frontends come, go and come back; models follow."""

import signal
import sys
import time
from hashlib import sha256
from pathlib import Path

import httpx
import openai
import pytest
import zmq

from frontend.mesh.introductions import DUPLICATE_PAUSE_S
from protocol.codec import decode_to_worker, encode
from protocol.membership import Capacity, Goodbye, Heartbeat, Hello
from protocol.replies import FileChunk
from protocol.requests import FetchFile, Welcome
from tests.kit.fleet import Fleet
from workers.demo_model import demo_model_dir
from workers.mesh.model_card import build_card

SIM = ("--served-model-name", "demo", "--sim-speedup", "0", "--context-length", "8192")


def _models(fleet: Fleet) -> list[str]:
    return sorted(model["id"] for model in fleet.get("/v1/models")[1]["data"])


def test_a_worker_that_goes_and_comes_back_is_noticed(fleet: Fleet) -> None:
    fleet.frontend()
    worker = fleet.worker(*SIM)
    fleet.wait_for_workers(1)
    assert (_models(fleet), fleet.get("/ready")[0]) == (["demo"], 200)
    assert worker.stop() == 0
    fleet.wait_until(lambda: _models(fleet) == [], "the model is gone")
    assert fleet.get("/ready")[0] == 503
    with fleet.client() as client, pytest.raises(openai.InternalServerError) as raised:
        client.completions.create(model="demo", prompt="hi")
    assert (raised.value.status_code, raised.value.code) == (503, "no_worker")
    fleet.worker(*SIM)
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        assert client.completions.create(model="demo", prompt="hi").choices[0].text


def test_a_killed_worker_is_dropped_and_its_request_fails_cleanly_where_nobody_else_serves(
    fleet: Fleet,
) -> None:
    fleet.frontend()
    worker = fleet.worker(
        "--served-model-name", "demo", "--sim-speedup", "1", "--context-length", "8192"
    )
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        stream = client.completions.create(model="demo", prompt="hi", max_tokens=4000, stream=True)
        next(iter(stream))
        worker.popen.send_signal(signal.SIGKILL)
        with pytest.raises(openai.APIError) as raised:
            list(stream)
    assert raised.value.code == "worker_lost"
    fleet.wait_until(lambda: _models(fleet) == [], "the model is gone")


def test_a_stopped_worker_finishes_what_runs(fleet: Fleet) -> None:
    fleet.frontend()
    worker = fleet.worker(
        "--served-model-name", "demo", "--sim-speedup", "1", "--context-length", "8192"
    )
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        stream = client.completions.create(model="demo", prompt="hi", max_tokens=150, stream=True)
        next(iter(stream))
        worker.popen.send_signal(signal.SIGTERM)
        chunks = list(stream)
    assert chunks[-1].choices[0].finish_reason == "length"
    assert worker.popen.wait(10) == 0


def test_a_restarted_frontend_is_found_again_by_its_workers(fleet: Fleet) -> None:
    first = fleet.frontend()
    fleet.worker(*SIM)
    fleet.wait_for_workers(1)
    first.popen.kill()
    first.popen.wait()
    fleet.frontend()
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        assert client.completions.create(model="demo", prompt="hi").choices[0].text


def test_two_frontends_share_a_worker(fleet: Fleet, tmp_path: Path) -> None:
    other = Fleet(tmp_path)
    fleet.frontend()
    other.frontend()
    try:
        fleet.worker(*SIM, "--frontend", other.mesh)
        fleet.wait_for_workers(1)
        other.wait_for_workers(1)
        with fleet.client() as here, other.client() as there:
            assert here.completions.create(model="demo", prompt="hi").choices[0].text
            assert there.completions.create(model="demo", prompt="hi").choices[0].text
    finally:
        other.stop()


def test_one_frontend_serves_several_models(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker("--served-model-name", "one", "--sim-speedup", "0")
    fleet.worker("--served-model-name", "two", "--sim-speedup", "0", "--sim-seed", "5")
    fleet.wait_for_workers(2)
    assert _models(fleet) == ["one", "two"]
    with fleet.client() as client:
        texts = [
            client.completions.create(model=model, prompt="hi").choices[0].text
            for model in ("one", "two")
        ]
    assert texts[0] != texts[1]


def test_an_update_of_the_settings_is_served_beside_what_it_replaces(fleet: Fleet) -> None:
    """A longer context, as any change of template or tokenizer: never a moment without an answer,
    and none of a mixture.
    """
    fleet.frontend()
    old = fleet.worker(*SIM, "--context-length", "1000", "--worker-id", "old")
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        fleet.worker(*SIM, "--context-length", "2000", "--worker-id", "new")
        while len(fleet.get("/health")[1]["workers"]) < 2 or not all(
            worker["ready"] for worker in fleet.get("/health")[1]["workers"]
        ):
            assert client.completions.create(model="demo", prompt="hi").choices[0].text
        for worker_id in ("old", "new"):
            wished = {"nvext": {"backend_instance_id": worker_id, "extra_fields": ["worker_id"]}}
            answer = client.completions.create(model="demo", prompt="hi", extra_body=wished)
            assert answer.model_extra is not None
            assert answer.model_extra["nvext"]["worker_id"]["decode_worker_id"] == worker_id
        assert _models(fleet) == ["demo"]
        old.popen.send_signal(signal.SIGTERM)
        while old.popen.poll() is None:
            assert client.completions.create(model="demo", prompt="hi").choices[0].text
        (model,) = fleet.get("/v1/models")[1]["data"]
        assert model["max_model_len"] == 2000
        assert (
            client.completions.create(model="demo", prompt=[5] * 1500, max_tokens=2).choices[0].text
        )


@pytest.mark.parametrize("ahead_s", [3600, -3600])
def test_a_worker_whose_clock_is_wrong_keeps_deadlines(fleet: Fleet, ahead_s: int) -> None:
    fleet.frontend()
    skewed = (
        f"import time; right = time.time; time.time = lambda: right() + {ahead_s}; time.time_ns "
        "= lambda: int(1e9 * time.time())"
    )
    options = (
        "--engine",
        "sim",
        "--frontend",
        fleet.mesh,
        *SIM,
        "--sim-speedup",
        "1",
        "--max-running-requests",
        "1",
    )
    fleet.launch(
        "skewed",
        [
            *(sys.executable, "-c"),
            f"{skewed}; from workers.app import run; raise SystemExit(run())",
            *options,
        ],
    )
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        stream = client.completions.create(model="demo", prompt="hi", max_tokens=2000, stream=True)
        next(iter(stream))
        with pytest.raises(openai.InternalServerError) as raised:  # it stands in the engine's queue
            client.completions.create(
                model="demo", prompt="hi", extra_headers={"x-request-timeout-ms": "1500"}
            )
        assert raised.value.code == "deadline_exceeded"
        stream.close()
        assert client.completions.create(model="demo", prompt="hi", max_tokens=2).choices[0].text


def test_model_files_travel_over_the_mesh_and_are_kept_by_hash(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker(*SIM)
    fleet.wait_for_workers(1)
    fetched = {
        file.name: file.read_bytes()
        for file in (fleet.directory / "cache" / "model-files").iterdir()
    }
    assert fetched == {sha256(content).hexdigest(): content for content in fetched.values()}
    assert (demo_model_dir() / "tokenizer.json").read_bytes() in fetched.values()
    assert (demo_model_dir() / "chat_template.jinja").read_bytes() in fetched.values()


def test_a_loading_worker_is_shown_but_not_used(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.wait_until(lambda: fleet.get("/live")[0] == 200, "frontend up")
    fleet.worker(*SIM, "--sim-startup-s", "8")
    fleet.wait_until(
        lambda: bool(fleet.get("/health")[1]["loading"]), "the loading worker is shown"
    )
    assert fleet.get("/ready") == (
        503,
        {"status": "not ready", "reasons": ["a worker is loading its model"]},
    )
    fleet.wait_for_workers(1)
    assert fleet.get("/health")[1]["loading"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--frontend", "nonsense"),
        ("--no-such-flag",),
        ("--model-path", "/nowhere"),
        ("--mesh-key-file", "/nowhere"),
    ],
)
def test_a_worker_that_cannot_start_says_why_in_one_line(
    fleet: Fleet, arguments: tuple[str, ...]
) -> None:
    worker = fleet.worker(*SIM, *arguments)
    assert worker.popen.wait(60) == 3
    assert len(worker.output().strip().splitlines()) == 1
    assert "cannot start" in worker.output()


def test_a_frontend_that_cannot_start_says_why_in_one_line(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.wait_until(lambda: fleet.get("/live")[0] == 200, "frontend up")
    second = fleet.frontend()
    assert second.popen.wait(60) == 3
    assert len(second.output().strip().splitlines()) == 1
    third = fleet.start("frontend", "--http-port", "0", "--mesh-bind", "tcp://0.0.0.0:0")
    assert third.popen.wait(60) == 3
    assert "key" in third.output()
    fourth = fleet.start("frontend", "--queue-memory-mb", "-1")
    assert fourth.popen.wait(60) == 3
    assert "--queue-memory-mb" in fourth.output()


def test_a_mesh_with_a_key_admits_only_its_holders(fleet: Fleet, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("ab" * 32)
    wrong.write_text("cd" * 32)
    frontend = fleet.frontend("--mesh-key-file", str(right))
    stranger = fleet.worker(*SIM, "--worker-id", "stranger")
    impostor = fleet.worker(*SIM, "--worker-id", "impostor", "--mesh-key-file", str(wrong))
    fleet.worker(*SIM, "--worker-id", "friend", "--mesh-key-file", str(right))
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        assert client.completions.create(model="demo", prompt="hi").choices[0].text
    assert [worker["worker_id"] for worker in fleet.get("/health")[1]["workers"]] == ["friend"]
    # Either side says what keeps the others out.
    assert "somebody tried to join the mesh and could not" in frontend.output()
    for worker, why in (
        (stranger, "it has a mesh key and this worker none"),
        (impostor, "if this is said again, the keys differ"),
    ):
        fleet.wait_until(lambda worker=worker, why=why: why in worker.output(), f"it says {why}")


def _requests(fleet: Fleet) -> int:
    return sum(sum(worker["requests"]) for worker in fleet.get("/health")[1]["workers"])


SLOW = ("--served-model-name", "demo", "--sim-speedup", "1", "--context-length", "8192")


@pytest.mark.parametrize(
    "still_s",
    [
        pytest.param(2.2, id="longer than a worker may be silent"),
        pytest.param(4.6, id="longer than a frontend may be, too"),
    ],
)
def test_a_frontend_that_stood_still_does_not_blame_its_workers(
    fleet: Fleet, still_s: float
) -> None:
    frontend = fleet.frontend()
    fleet.worker(*SLOW)
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        stream = client.completions.create(model="demo", prompt="hi", max_tokens=400, stream=True)
        next(iter(stream))
        frontend.popen.send_signal(signal.SIGSTOP)
        time.sleep(still_s)  # what is tested is the passing of time itself
        frontend.popen.send_signal(signal.SIGCONT)
        chunks = list(stream)
    assert chunks[-1].choices[0].finish_reason == "length"


def test_requests_of_a_frontend_that_was_restarted_are_stopped(fleet: Fleet) -> None:
    frontend = fleet.frontend()
    fleet.worker(*SLOW)
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        stream = client.completions.create(model="demo", prompt="hi", max_tokens=8000, stream=True)
        next(iter(stream))
        frontend.popen.kill()
        frontend.popen.wait()
        with pytest.raises(httpx.HTTPError):
            list(stream)
    fleet.frontend()
    fleet.wait_for_workers(1)
    # 8000 tokens would take 48 s
    fleet.wait_until(lambda: _requests(fleet) == 0, "the engine is idle")


def test_a_draining_worker_is_not_used_by_a_frontend_that_came_later(fleet: Fleet) -> None:
    frontend = fleet.frontend()
    draining = fleet.worker(*SLOW, "--worker-id", "draining")
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        stream = client.completions.create(model="demo", prompt="hi", max_tokens=500, stream=True)
        next(iter(stream))
        draining.popen.send_signal(signal.SIGTERM)
        fleet.wait_until(
            lambda: fleet.get("/health")[1]["workers"][0]["phase"] == "draining", "it drains"
        )
        fleet.worker(*SLOW, "--worker-id", "fresh")
        fleet.wait_until(lambda: len(fleet.get("/health")[1]["workers"]) == 2, "the other one came")
        assert client.completions.create(model="demo", prompt="hi", max_tokens=2).choices[0].text
        assert [
            worker["worker_id"] for worker in fleet.get("/health")[1]["workers"] if worker["ready"]
        ] == ["fresh"]
        frontend.popen.kill()
        frontend.popen.wait()
    fleet.frontend()
    fleet.wait_for_workers(1)
    assert [worker["worker_id"] for worker in fleet.get("/health")[1]["workers"]] == ["fresh"]
    assert draining.popen.wait(10) == 0  # nobody waits for what it ran


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_a_worker_gives_up_before_its_first_token_is_tried_elsewhere(
    fleet: Fleet, stream: bool
) -> None:
    fleet.frontend()
    for _ in range(2):
        fleet.worker(*SIM, "--sim-fault", "refuse")
    fleet.wait_for_workers(2)
    with fleet.client() as client:
        hurried = {"x-request-timeout-ms": "1000"}
        # both are full, and asked again until its time is over
        with pytest.raises(openai.InternalServerError) as raised:
            client.completions.create(
                model="demo", prompt="hi", max_tokens=3, stream=stream, extra_headers=hurried
            )
        assert (raised.value.status_code, raised.value.code) == (504, "deadline_exceeded")
        fleet.worker(*SIM)
        fleet.wait_for_workers(3)
        for _ in range(8):
            answer = client.completions.create(
                model="demo", prompt="hi", max_tokens=3, stream=stream
            )
            assert list(answer) if stream else answer


def test_where_load_is_shed_a_request_that_every_worker_refuses_is_refused(fleet: Fleet) -> None:
    fleet.frontend("--shed-load")
    for _ in range(2):
        fleet.worker(*SIM, "--sim-fault", "refuse")
    fleet.wait_for_workers(2)
    with fleet.client() as client:
        with pytest.raises(openai.InternalServerError) as raised:
            client.completions.create(model="demo", prompt="hi", max_tokens=3)
        assert (raised.value.status_code, raised.value.code) == (503, "overloaded")


def test_two_workers_of_one_name_do_not_displace_each_other_and_the_second_takes_over(
    fleet: Fleet,
) -> None:
    frontend = fleet.frontend()
    first = fleet.worker(*SIM, "--worker-id", "twin")
    fleet.wait_for_workers(1)
    second = fleet.worker(*SIM, "--worker-id", "twin")
    fleet.wait_until(lambda: "refuses us" in second.output(), "the second twin is told")
    with fleet.client() as client:
        for _ in range(5):
            assert client.completions.create(model="demo", prompt="hi").choices[0].text
    time.sleep(2 * DUPLICATE_PAUSE_S)  # it asks again, and is refused again
    first.stop()
    fleet.wait_until(lambda: "accepted us" in second.output(), "the second twin is taken")
    assert second.output().count("refuses us") == 1
    assert frontend.output().count("two workers go by the name twin") == 1


def test_a_worker_that_leaves_while_it_joins_leaves_nothing_behind(fleet: Fleet) -> None:
    """Hello, Goodbye and Hello again on one connection, faster than a model can be prepared."""
    fleet.frontend()
    fleet.wait_until(lambda: fleet.get("/live")[0] == 200, "frontend up")
    card, paths = build_card(demo_model_dir(), name="ghost")
    hello = Hello("ghost", 1, "text", "dyn://a.b.c", card, Capacity(1, 16, 1024, 4), 8)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(fleet.mesh)
    for message in (hello, Goodbye(), hello):
        dealer.send_multipart(encode(message))
    welcomes = 0
    while dealer.poll(3000):
        answer = decode_to_worker(dealer.recv_multipart())
        if isinstance(answer, FetchFile):
            content = paths[answer.sha256].read_bytes()
            dealer.send_multipart(encode(FileChunk(answer.sha256, 0, len(content), content)))
        dealer.send_multipart(encode(Heartbeat("ghost", 1, [])))
        if isinstance(answer, Welcome):
            welcomes += 1
            break
    assert (welcomes, [worker["worker_id"] for worker in fleet.get("/health")[1]["workers"]]) == (
        1,
        ["ghost"],
    )
    dealer.send_multipart(encode(Goodbye()))
    fleet.wait_until(lambda: fleet.get("/health")[1]["workers"] == [], "it is gone")
    assert fleet.get("/v1/models")[1]["data"] == []
    context.destroy(linger=0)
