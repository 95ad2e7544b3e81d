"""Workers and frontends come, go and come back; models follow."""

import signal
from hashlib import sha256
from pathlib import Path

import openai
import pytest

from tests.fleet.processes import Fleet
from workers.demo_model import demo_model_dir

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


def test_a_killed_worker_is_dropped_and_its_request_fails_cleanly(fleet: Fleet) -> None:
    fleet.frontend()
    worker = fleet.worker("--served-model-name", "demo", "--sim-speedup", "1", "--context-length", "8192")
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
    worker = fleet.worker("--served-model-name", "demo", "--sim-speedup", "1", "--context-length", "8192")
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
        texts = [client.completions.create(model=model, prompt="hi").choices[0].text for model in ("one", "two")]
    assert texts[0] != texts[1]


def test_a_worker_of_the_same_name_with_other_settings_is_refused(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker(*SIM, "--context-length", "1000")
    fleet.wait_for_workers(1)
    second = fleet.worker(*SIM, "--context-length", "2000")
    fleet.wait_until(lambda: "refuses us" in second.output(), "the second worker is told why")
    assert len(fleet.get("/health")[1]["workers"]) == 1


def test_model_files_travel_over_the_mesh_and_are_kept_by_hash(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker(*SIM)
    fleet.wait_for_workers(1)
    fetched = {file.name: file.read_bytes() for file in (fleet.directory / "cache" / "model-files").iterdir()}
    assert fetched == {sha256(content).hexdigest(): content for content in fetched.values()}
    assert (demo_model_dir() / "tokenizer.json").read_bytes() in fetched.values()
    assert (demo_model_dir() / "chat_template.jinja").read_bytes() in fetched.values()


def test_a_loading_worker_is_shown_but_not_used(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker(*SIM, "--sim-startup-s", "4")
    fleet.wait_until(lambda: bool(fleet.get("/health")[1]["loading"]), "the loading worker is shown")
    assert fleet.get("/ready") == (503, {"status": "not ready", "reasons": ["a worker is loading its model"]})
    fleet.wait_for_workers(1)
    assert fleet.get("/health")[1]["loading"] == []


@pytest.mark.parametrize(
    "arguments", [("--frontend", "nonsense"), ("--no-such-flag",), ("--model-path", "/nowhere"), ("--mesh-key-file", "/nowhere")]
)
def test_a_worker_that_cannot_start_says_why_in_one_line(fleet: Fleet, arguments: tuple[str, ...]) -> None:
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


def test_a_mesh_with_a_key_admits_only_its_holders(fleet: Fleet, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("ab" * 32)
    wrong.write_text("cd" * 32)
    fleet.frontend("--mesh-key-file", str(right))
    fleet.worker(*SIM, "--worker-id", "stranger")
    fleet.worker(*SIM, "--worker-id", "impostor", "--mesh-key-file", str(wrong))
    fleet.worker(*SIM, "--worker-id", "friend", "--mesh-key-file", str(right))
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        assert client.completions.create(model="demo", prompt="hi").choices[0].text
    assert [worker["worker_id"] for worker in fleet.get("/health")[1]["workers"]] == ["friend"]
