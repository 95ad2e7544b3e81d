"""A stream whose only worker dies in its midst ends with one error, in the form of the API that it
was asked by.
"""

import signal

import anthropic
import httpx
import openai
import pytest

from starter.process import Process
from tests.fault.raw_http import metric, requests_running
from tests.kit.fleet import Fleet


@pytest.fixture
def worker(fleet: Fleet) -> Process:
    """The only worker, which takes its time for each token."""
    fleet.frontend("--migration-limit", "0")
    worker = fleet.worker("--served-model-name", "demo", "--context-length", "4096")
    fleet.wait_for_workers(1)
    return worker


def test_a_response_has_failed(fleet: Fleet, worker: Process) -> None:
    with (
        fleet.client() as client,
        client.responses.create(
            model="demo", input="Hi", stream=True, max_output_tokens=3000
        ) as stream,
    ):
        kinds: list[str] = []
        for event in stream:
            kinds.append(event.type)
            if event.type == "response.output_text.delta" and worker.popen.poll() is None:
                worker.stop(signal.SIGKILL)
            if event.type == "response.failed":
                assert event.response.status == "failed"
                assert event.response.error is not None
                assert event.response.error.message
    assert kinds.count("response.failed") == 1
    assert kinds[-1] == "response.failed"


def test_a_message_ends_with_an_error_event(fleet: Fleet, worker: Process) -> None:
    texts: list[str] = []

    def read(client: anthropic.Anthropic) -> None:
        with client.messages.stream(
            model="demo", max_tokens=3000, messages=[{"role": "user", "content": "Hi"}]
        ) as stream:
            for text in stream.text_stream:
                texts.append(text)
                if worker.popen.poll() is None:
                    worker.stop(signal.SIGKILL)

    with (
        anthropic.Anthropic(base_url=fleet.url, api_key="none", max_retries=0) as client,
        pytest.raises(anthropic.APIStatusError) as raised,
    ):
        read(client)
    assert texts
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["type"] == "error"
    assert raised.value.body["error"]["type"] == "api_error"


def test_generate_ends_with_an_error_object(fleet: Fleet, worker: Process) -> None:
    body = {
        "text": "Hi",
        "sampling_params": {"max_new_tokens": 3000, "ignore_eos": True},
        "stream": True,
    }
    lines: list[str] = []
    with httpx.stream("POST", fleet.url + "/generate", json=body, timeout=60) as answer:
        for line in answer.iter_lines():
            lines += [line] if line else []
            if line and worker.popen.poll() is None:
                worker.stop(signal.SIGKILL)
    assert lines[-1] == "data: [DONE]"
    assert '"error"' in lines[-2]
    assert sum('"error"' in line for line in lines) == 1


def test_a_client_that_leaves_has_its_message_aborted(fleet: Fleet, worker: Process) -> None:
    ask = {"model": "demo", "max_tokens": 3000, "messages": [{"role": "user", "content": "Hi"}]}
    with (
        anthropic.Anthropic(base_url=fleet.url, api_key="none", max_retries=0) as client,
        client.messages.stream(**ask) as stream,
    ):
        next(iter(stream.text_stream))

    def cancelled() -> bool:
        left = metric(
            fleet,
            "dynamo_frontend_model_cancellation_total",
            endpoint="anthropic_messages",
            model="demo",
            request_type="stream",
        )
        return left == 1 and requests_running(fleet) == 0

    fleet.wait_until(cancelled, "the engine runs nothing, since the client left")


def test_a_frontend_that_drains_says_so_in_each_form(fleet: Fleet, worker: Process) -> None:
    frontend = fleet.processes[0]
    with (
        fleet.client() as client,
        client.completions.create(
            model="demo", prompt="Hi", stream=True, max_tokens=3000
        ) as open_stream,
    ):
        next(iter(open_stream))
        frontend.popen.send_signal(signal.SIGTERM)

        def draining() -> bool:
            return fleet.get("/ready")[0] == 503

        fleet.wait_until(draining, "the frontend drains")
        with (
            anthropic.Anthropic(base_url=fleet.url, api_key="none", max_retries=0) as claude,
            pytest.raises(anthropic.APIStatusError) as no,
        ):
            claude.messages.create(
                model="demo", max_tokens=1, messages=[{"role": "user", "content": "Hi"}]
            )
        assert no.value.status_code == 503
        assert isinstance(no.value.body, dict)
        assert no.value.body["error"]["type"] == "overloaded_error"
        with pytest.raises(openai.InternalServerError) as also_no:
            client.responses.create(model="demo", input="Hi")
        assert also_no.value.status_code == 503
