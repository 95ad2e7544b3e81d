"""LoRA adapters over real processes: models that come and go at run time, on the workers that have
them.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from starter.ports import free_port
from tests.fault.raw_http import metric
from tests.fault.system_pages import SystemPages
from tests.kit.fleet import Fleet

LOAD, UNLOAD = "/engine/load_lora_adapter", "/engine/unload_lora_adapter"


def post(
    pages: SystemPages, path: str, body: Any, content_type: str = "application/json"
) -> tuple[int, dict[str, Any]]:
    """Status and answer, or error, of what is asked of a worker."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{pages.port}{path}",
        json.dumps(body).encode(),
        {"content-type": content_type},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]


class Workers:
    """Two sim workers of one model, "a" and "b", and what may be asked of each."""

    def __init__(self, fleet: Fleet, adapter: Path) -> None:
        self.fleet = fleet
        self.adapter = adapter
        self.pages = {name: SystemPages(free_port()) for name in "ab"}
        for name, pages in self.pages.items():
            fleet.worker(
                "--served-model-name",
                "demo",
                "--sim-speedup",
                "0",
                "--worker-id",
                name,
                "--system-port",
                str(pages.port),
            )

    def post(self, worker: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        return post(self.pages[worker], path, body)

    def load(self, worker: str, name: str) -> None:
        status, answer = self.post(
            worker, LOAD, {"lora_name": name, "lora_path": str(self.adapter)}
        )
        assert (status, answer["success"]) == (200, True), answer
        assert name in answer["loaded_adapters"]

    def unload(self, worker: str, name: str) -> None:
        status, answer = self.post(worker, UNLOAD, {"lora_name": name})
        assert (status, answer["success"]) == (200, True), answer

    def models(self) -> dict[str, str | None]:
        """Id and parent of each model listed."""
        return {model["id"]: model["parent"] for model in self.fleet.get("/v1/models")[1]["data"]}

    def listed(self, *names: str) -> None:
        self.fleet.wait_until(
            lambda: set(self.models()) == {"demo", *names}, f"the models are demo and {names}"
        )


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    directory = tmp_path_factory.mktemp("adapters")
    (directory / "adapter").mkdir()
    (directory / "adapter" / "adapter_config.json").write_text("{}")
    fleet = Fleet(directory)
    fleet.frontend()
    workers = Workers(fleet, directory / "adapter")
    fleet.wait_for_workers(2)
    yield workers
    fleet.stop()


def ask(client: openai.OpenAI, model: str, **extra: Any) -> str:
    """The worker that answered."""
    answer = client.completions.create(
        model=model,
        prompt="Hello",
        max_tokens=2,
        extra_body={"nvext": {"extra_fields": ["worker_id"]}, **extra},
    )
    told: dict[str, Any] = answer.nvext  # type: ignore[attr-defined]
    return str(told["worker_id"]["decode_worker_id"])


def test_an_adapter_is_a_model_while_a_worker_has_it(workers: Workers) -> None:
    with workers.fleet.client() as client:
        with pytest.raises(openai.NotFoundError) as raised:
            ask(client, "poet")
        assert raised.value.code == "model_not_found"
        workers.load("b", "poet")
        workers.listed("poet")
        assert workers.models() == {"demo": None, "poet": "demo"}
        assert client.models.retrieve("demo:poet").model_dump()["root"] == "poet"
        names: list[tuple[str, dict[str, str]]] = [
            ("poet", {}),
            ("demo:poet", {}),
            ("demo", {"lora_path": "poet"}),
            ("poet", {"lora_path": "poet"}),
        ]
        assert [ask(client, model, **extra) for model, extra in names * 2] == ["b"] * 8
        workers.unload("b", "poet")
        workers.listed()
        for model, extra in names:
            with pytest.raises(openai.NotFoundError) as raised:
                ask(client, model, **extra)
            assert raised.value.code == "model_not_found"
        assert ask(client, "demo") in ("a", "b")


def test_what_is_counted_of_a_request_outlives_its_adapter(workers: Workers) -> None:
    """As of each request of the model, while it runs and at its end."""
    fleet = workers.fleet

    def counted() -> tuple[float, float]:
        return tuple(
            metric(fleet, f"dynamo_frontend_{name}", model="demo")
            for name in ("output_tokens_total", "requests_total")
        )

    workers.load("b", "poet")
    workers.listed("poet")
    tokens, requests = counted()
    with fleet.client() as client:
        stream = client.completions.create(
            model="poet",
            prompt="Hello",
            max_tokens=100,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        next(iter(stream))
        workers.unload("b", "poet")
        workers.listed()
        for _ in stream:
            pass
    fleet.wait_until(
        lambda: counted() == (tokens + 100, requests + 1), "the request is counted whole"
    )


def test_it_goes_to_every_worker_that_has_it_and_stays_while_one_has(workers: Workers) -> None:
    with workers.fleet.client() as client:
        for worker in "ab":
            workers.load(worker, "clerk")
        workers.listed("clerk")
        workers.unload("a", "clerk")
        workers.load("a", "other")
        workers.listed("clerk", "other")
        assert {ask(client, "clerk") for _ in range(6)} == {"b"}
        with pytest.raises(openai.BadRequestError) as raised:
            ask(client, "clerk", lora_path="other")
        assert raised.value.param == "lora_path"
        workers.unload("b", "clerk")
        workers.unload("a", "other")
        workers.listed()


def test_a_frontend_that_starts_later_hears_of_adapters(workers: Workers) -> None:
    workers.load("a", "early")
    workers.listed("early")
    frontend = workers.fleet.processes[0]
    frontend.stop()
    workers.fleet.processes[0] = workers.fleet.frontend()
    workers.fleet.processes.pop()
    workers.fleet.wait_for_workers(2)
    workers.listed("early")
    workers.unload("a", "early")
    workers.listed()


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "param"),
    [
        (LOAD, {"lora_name": "x", "lora_path": "/nowhere"}, 400, "invalid_value", "lora_path"),
        (LOAD, {"lora_name": "x", "lora_path": "relative"}, 400, "invalid_value", "lora_path"),
        (LOAD, {"lora_name": "", "lora_path": "/nowhere"}, 400, "invalid_value", None),
        (LOAD, {"lora_name": "x"}, 400, "invalid_value", None),
        (LOAD, {"lora_name": "x", "lora_path": "/x", "code": "y"}, 400, "invalid_value", None),
        (UNLOAD, {"lora_name": "nobody"}, 404, "model_not_found", "lora_name"),
        ("/engine/reboot", {}, 404, "route_not_found", None),
        (LOAD, {"lora_name": "x" * 100_000}, 413, "body_too_large", None),
    ],
)
def test_what_a_worker_refuses(
    workers: Workers, path: str, body: Any, status: int, code: str, param: str | None
) -> None:
    answered, error = workers.post("a", path, body)
    assert (answered, error["code"], error["param"]) == (status, code, param)


def test_a_strangers_web_page_cannot_ask(workers: Workers) -> None:
    assert post(workers.pages["a"], UNLOAD, {"lora_name": "x"}, content_type="text/plain")[0] == 415
    assert workers.pages["a"].status(LOAD) == 405


def test_one_name_is_loaded_once(workers: Workers) -> None:
    workers.load("a", "twin")
    assert (
        workers.post("a", LOAD, {"lora_name": "twin", "lora_path": str(workers.adapter)})[0] == 400
    )
    workers.unload("a", "twin")
    workers.listed()


def test_clients_cannot_load_adapters(workers: Workers) -> None:
    with workers.fleet.client() as client, pytest.raises(openai.NotFoundError) as raised:
        client.post(
            "/load_lora_adapter", body={"lora_name": "x", "lora_path": "/etc"}, cast_to=object
        )
    assert "system port" in str(raised.value)
