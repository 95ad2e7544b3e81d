"""Pictures in prompts over simulated workers: known to the router, moved with their request,
bounded, fetched from where the operator says.
"""

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.fleet.pictures import data_url, picture
from tests.fleet.test_kv_real_sglang import ASKED, agree, settle
from tests.fleet.test_kv_routing import workers_of
from tests.kit.fleet import Fleet
from workers.demo_model import demo_model_dir

MODEL = "sees"
SIM = (
    *("--model-path", str(demo_model_dir("vision")), "--served-model-name", MODEL),
    *("--page-size", "16", "--kv-block-size", "16", "--context-length", "4096"),
)
RED, BLUE = data_url(picture("red")), data_url(picture("blue", (140, 112)))


class _Pictures(http.server.BaseHTTPRequestHandler):
    """Answers with the blue picture."""

    def do_GET(self) -> None:
        body = picture("blue", (140, 112))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of a server that has the blue picture."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pictures) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory, store: str) -> Iterator[Fleet]:
    """A frontend and two workers; it fetches from the store."""
    fleet = Fleet(tmp_path_factory.mktemp("seeing"))
    fleet.frontend("--media-url-hosts", store, "--media-megapixels", "1")
    for _ in range(2):
        fleet.worker(*SIM, "--sim-speedup", "0")
    fleet.wait_for_workers(2)
    yield fleet
    fleet.stop()


@pytest.fixture
def client(seeing: Fleet) -> Iterator[openai.OpenAI]:
    with seeing.client() as client:
        yield client


def messages(*parts: str) -> Any:
    content = [
        {"type": "text", "text": part}
        if " " in part
        else {"type": "image_url", "image_url": {"url": part}}
        for part in parts
    ]
    return [{"role": "user", "content": content}]


def ask(client: openai.OpenAI, *parts: str, **options: Any) -> Any:
    return client.chat.completions.create(
        model=MODEL, messages=messages(*parts), max_tokens=8, temperature=0, **options
    )


def said(answer: Any) -> str:
    return answer.choices[0].message.content


def test_a_picture_is_part_of_what_is_asked(client: openai.OpenAI) -> None:
    red, blue, words = (ask(client, *parts, "What is it?") for parts in ((RED,), (BLUE,), ()))
    assert len({said(red), said(blue), said(words)}) == 3
    assert said(ask(client, RED, "What is it?")) == said(red)
    assert red.usage.prompt_tokens_details.image_tokens == 3 * 2
    assert red.usage.prompt_tokens == words.usage.prompt_tokens + 3 * 2 + 2


def test_a_repeated_picture_is_routed_to_who_has_it(seeing: Fleet, client: openai.OpenAI) -> None:
    told: list[Any] = []
    for parts in ((RED, "one " * 80), (BLUE, "one " * 80), (RED, "one " * 80)):
        settle(seeing)
        answer = ask(client, *parts, extra_body={"nvext": ASKED})
        told.append(answer.nvext)
        cached = answer.nvext["cached_tokens"]
        assert agree(cached["predicted"], cached["actual"], answer.usage.prompt_tokens)
    first, other, again = told
    assert other["cached_tokens"]["actual"] < again["cached_tokens"]["actual"]
    assert again["worker_id"] == first["worker_id"]


def test_what_is_fetched_is_the_same_picture(client: openai.OpenAI, store: str) -> None:
    fetched = ask(client, f"http://{store}/blue.png", "What is it?")
    assert said(fetched) == said(ask(client, BLUE, "What is it?"))
    for url in ("http://127.0.0.1:9/x", "https://example.com/x", "file:///etc/passwd"):
        with pytest.raises(openai.BadRequestError) as raised:
            ask(client, url, "What is it?")
        assert raised.value.param == "messages[0].content[0].image_url.url"


def test_what_is_too_large_is_refused_by_its_header(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="1001 x 1000 pixels"):
        ask(client, data_url(picture("red", (1001, 1000))), "What is it?")


def test_choices_and_streams_see_it_too(client: openai.OpenAI) -> None:
    alone = said(ask(client, RED, BLUE, "What are they?"))
    several = ask(client, RED, BLUE, "What are they?", n=3)
    assert [choice.message.content for choice in several.choices] == [alone] * 3
    streamed = ask(client, RED, BLUE, "What are they?", stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == alone


GENERATED = "<|vision_start|><|image_pad|><|vision_end|>"


def generate(seeing: Fleet, text: str, **body: Any) -> httpx.Response:
    sampling = {"temperature": 0, "max_new_tokens": 8}
    body = {"text": text, "sampling_params": sampling} | body
    return httpx.post(f"{seeing.url}/generate", json=body, timeout=60)


def test_sglangs_own_path_takes_pictures_beside_a_prompt(seeing: Fleet, store: str) -> None:
    raw = BLUE.partition(",")[2]
    forms = (BLUE, raw, f"http://{store}/blue.png", [BLUE])
    told = [generate(seeing, f"{GENERATED}What is it?", image_data=form) for form in forms]
    assert [each.status_code for each in told] == [200] * 4, told[0].text
    assert len({each.json()["text"] for each in told}) == 1
    red = generate(seeing, f"{GENERATED}What is it?", image_data=RED).json()
    assert red["text"] != told[0].json()["text"]
    bare = generate(seeing, "What is it?").json()["meta_info"]["prompt_tokens"]
    assert red["meta_info"]["prompt_tokens"] == bare + 2 + 3 * 2
    both = generate(seeing, 2 * GENERATED, image_data=[RED, raw], stream=True)
    assert both.status_code == 200
    assert both.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("text", "body", "param"),
    [
        ("What is it?", {"image_data": RED}, "image_data"),
        (2 * GENERATED, {"image_data": [RED]}, "image_data"),
        (GENERATED, {"image_data": ["/etc/passwd"]}, "image_data[0]"),
        (GENERATED, {"image_data": "file:///etc/passwd"}, "image_data"),
        (GENERATED, {"image_data": [{"url": RED}]}, "image_data[0]"),
        (GENERATED + "<|video_pad|>", {"image_data": RED}, "text"),
        ([GENERATED] * 2, {"image_data": RED}, "image_data"),
    ],
)
def test_what_cannot_be_seen_beside_a_prompt_is_said(
    seeing: Fleet, text: Any, body: dict[str, Any], param: str
) -> None:
    answer = generate(seeing, text, **body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_a_picture_moves_with_its_request(fleet: Fleet) -> None:
    """The worker that looks at it is killed in the midst of the answer."""
    fleet.frontend()
    workers = {name: fleet.worker(*SIM, "--worker-id", name) for name in ("w0", "w1")}
    fleet.wait_for_workers(2)
    asked: Any = {"model": MODEL, "messages": messages(RED, "What is it?"), "max_tokens": 300}
    with fleet.client() as client:
        undisturbed = client.chat.completions.create(**asked, temperature=0)
        text = ""
        for number, chunk in enumerate(
            client.chat.completions.create(**asked, temperature=0, stream=True)
        ):
            text += chunk.choices[0].delta.content or ""
            if number == 5:
                (served_by,) = (
                    worker["worker_id"] for worker in workers_of(fleet) if any(worker["requests"])
                )
                workers[served_by].kill()
    assert text == said(undisturbed)
