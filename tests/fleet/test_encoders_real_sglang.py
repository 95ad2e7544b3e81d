"""Pictures that others encode, on real SGLang: the demo model that sees says its golden answers by
every path, and its cache knows a picture whoever encoded it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.demo_vision.golden import Entry, chat_messages, data_uri, golden_entries
from tests.fleet.real_fleets import RealFleets
from tests.fleet.seeing import ADAPTER, ASKED, seeing_workers
from tests.fleet.test_encoders import encoded
from tests.fleet.test_kv_real_sglang import agree, settle
from tests.kit.fleet import Fleet

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(500)]

DEMO = "kvmesh-demo-vision"
SEEING = [entry for entry in golden_entries() if entry["pictures"]]
PATHS = {
    "an encode worker": "--multimodal-encode-worker",
    "a processor": "--multimodal-processor",
}


@pytest.fixture(scope="module", params=PATHS)
def apart(
    request: pytest.FixtureRequest,
    real_fleets: RealFleets,
    seeing_models: dict[str, Path],
) -> Iterator[Fleet]:
    """The fleet of ordinary files, whose demo worker fetches encodings, and one who makes them."""
    fleet = real_fleets.of(*seeing_workers(seeing_models))
    helper = fleet.forked_worker("--demo", "vision", PATHS[request.param], "--dtype", "float32")
    try:
        fleet.wait_for_workers(1 + len(seeing_workers(seeing_models)), wait_s_max=300)
        yield fleet
        assert helper.stop(wait_s_max=60) == 0, helper.output()[-3000:]
        assert helper.children_left() == []
    finally:
        helper.kill()
        fleet.processes.remove(helper)
    fleet.wait_for_workers(len(seeing_workers(seeing_models)))


def ask(client: openai.OpenAI, messages: Any, **options: Any) -> Any:
    return client.chat.completions.create(model=DEMO, messages=messages, temperature=0, **options)


def look(client: openai.OpenAI, picture: str, words: str, model: str = DEMO, **options: Any) -> Any:
    content = [
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "text", "text": words},
    ]
    messages: Any = [{"role": "user", "content": content}]
    return client.chat.completions.create(
        model=model, messages=messages, temperature=0, max_tokens=8, **options
    )


def test_the_demo_model_says_what_others_see_for_it(apart: Fleet) -> None:
    before = encoded(apart)
    with apart.client() as client:
        for entry in SEEING:
            _says(client, entry)
    # an answer may overtake the encoder's word of its pictures, which is not counted then
    assert before < encoded(apart) <= before + sum(len(entry["pictures"]) for entry in SEEING)


def _says(client: openai.OpenAI, entry: Entry) -> None:
    answer = ask(
        client,
        chat_messages(entry),
        tools=entry.get("tools") or openai.NOT_GIVEN,
        max_tokens=entry["max_tokens"],
        extra_body={"return_token_ids": True},
    )
    *token_ids, _ = answer.choices[0].token_ids
    assert (entry["name"], token_ids) == (entry["name"], entry["token_ids"])
    assert answer.usage.prompt_tokens == entry["prompt_tokens"]


def test_the_cache_knows_a_picture_whoever_encoded_it(
    apart: Fleet, request: pytest.FixtureRequest
) -> None:
    first, second = sorted({name for entry in SEEING for name in entry["pictures"]})[:2]
    words = f"Who encodes it? It is {request.node.callspec.id}. " * 3
    with apart.client() as client:
        for model in (DEMO, ADAPTER):  # whose caches have nothing in common
            found: list[int] = []
            for picture in (first, second, first):
                settle(apart)
                asked = {"extra_body": {"nvext": ASKED}}
                answer = look(client, data_uri(picture), words, model, **asked)
                told = answer.nvext["cached_tokens"]
                assert agree(told["predicted"], told["actual"], answer.usage.prompt_tokens)
                found.append(told["actual"])
            assert found[2] >= answer.usage.prompt_tokens // 16 * 16 - 16 > max(found[:2])


def test_a_damaged_picture_is_the_clients_mistake(apart: Fleet) -> None:
    whole = data_uri(SEEING[0]["pictures"][0])
    with apart.client() as client, pytest.raises(openai.BadRequestError) as raised:
        look(client, whole[: len(whole) // 2 // 4 * 4], "What is it?")
    assert raised.value.param == "messages[0].content[0].image_url.url"
