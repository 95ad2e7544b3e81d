"""Text made by diffusion on real SGLang, through HTTP, against what transformers alone makes of the
same weights (tests/sglang/tiny_sdar.py).
"""

import json
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import openai
import pytest

from starter.ports import free_port
from tests.fault.raw_http import asked
from tests.fault.system_pages import SystemPages
from tests.fleet.real_fleets import RealFleets
from tests.fleet.test_kv_real_sglang import settle
from tests.fleet.test_kv_routing import workers_of
from tests.fleet.test_request_errors import post
from tests.kit.fleet import Fleet
from tests.kit.forks import run_with_sglang

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]

MODEL = "sdar"
BLOCK = 4
CONTEXT = 300
NEW_TOKENS = 22
PROMPTS = [list(range(20, 33)), list(range(100, 116)), [7], list(range(40, 142))]
"""Of 13, 16, 1 and 102 tokens: beside a block's end, at one, within the first, and long."""

ASKED = {"return_token_ids": True, "ignore_eos": True}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sdar")
    _run("build", directory)
    return directory


@pytest.fixture(scope="module")
def wanted(model_dir: Path) -> list[list[int]]:
    """What the reference answers to PROMPTS."""
    asked = json.dumps([(prompt, NEW_TOKENS) for prompt in PROMPTS])
    return json.loads(_run("answers", model_dir, given=asked))


@pytest.fixture(scope="module")
def pages() -> SystemPages:
    """Of the worker."""
    return SystemPages(free_port())


@pytest.fixture(scope="module")
def real(real_fleets: RealFleets, model_dir: Path, pages: SystemPages) -> Fleet:
    """A frontend and a worker that makes text by diffusion."""
    return real_fleets.of(
        (
            *("--model-path", str(model_dir), "--served-model-name", MODEL, "--dtype", "float32"),
            *("--dllm-algorithm", "LowConfidence", "--max-running-requests", "4"),
            *("--kv-block-size", str(BLOCK), "--canary-wait-time", "0.3"),
            *("--context-length", str(CONTEXT)),
            *("--system-port", str(pages.port)),
        )
    )


@pytest.fixture
def client(real: Fleet) -> Iterator[openai.OpenAI]:
    with real.client() as client:
        yield client


def _run(*argv: Any, given: str = "") -> str:
    done = run_with_sglang("-m", "tests.sglang.tiny_sdar", *argv, given=given)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def complete(client: openai.OpenAI, prompt: list[int], tokens: int, **more: Any) -> Any:
    return client.completions.create(
        model=MODEL, prompt=prompt, max_tokens=tokens, extra_body=ASKED | more
    )


def test_tokens_are_those_of_the_reference(client: openai.OpenAI, wanted: list[list[int]]) -> None:
    """Together and alone, whole and cut short within a block."""
    together: Any = client.completions.create(
        model=MODEL, prompt=PROMPTS, max_tokens=NEW_TOKENS, extra_body=ASKED
    )
    assert [choice.token_ids for choice in together.choices] == wanted
    for prompt, tokens, length in zip(PROMPTS, wanted, (NEW_TOKENS, 9, 1, 3), strict=True):
        answer = complete(client, prompt, length)
        assert answer.choices[0].token_ids == tokens[:length]
        assert answer.choices[0].finish_reason == "length"
        counts = answer.usage.prompt_tokens, answer.usage.completion_tokens
        assert counts == (len(prompt), length)


def test_a_chat_streams_block_by_block(client: openai.OpenAI, wanted: list[list[int]]) -> None:
    """Steps that bring nothing are no chunks."""
    text = "".join(chr(33 + token) for token in PROMPTS[0])  # the tokenizer's printable bytes
    chunks: list[Any] = list(
        client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": text}],
            max_tokens=NEW_TOKENS,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=ASKED,
        )
    )
    told = [choice.token_ids for chunk in chunks for choice in chunk.choices]
    assert chunks[0].prompt_token_ids == PROMPTS[0]
    assert [token for ids in told for token in ids] == wanted[0]
    assert set(accumulate(map(len, told))) <= {*range(3, NEW_TOKENS, BLOCK), NEW_TOKENS}
    usage = chunks[-1].usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(PROMPTS[0]), NEW_TOKENS)


def test_a_stop_token_within_a_block_is_the_end(
    client: openai.OpenAI, wanted: list[list[int]]
) -> None:
    prompt, tokens = PROMPTS[1], wanted[1]
    at = next(
        at for at in range(1, NEW_TOKENS) if at % BLOCK == 1 and tokens[at] not in tokens[:at]
    )
    answer = complete(client, prompt, NEW_TOKENS, stop_token_ids=[tokens[at]], ignore_eos=False)
    assert answer.choices[0].token_ids == tokens[: at + 1]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == at + 1


def test_what_was_told_goes_on_elsewhere_as_if_nothing_had_happened(
    client: openai.OpenAI, wanted: list[list[int]]
) -> None:
    """At the ends of blocks, which is where a worker is lost as its frontend sees it; in between an
    answer is whole, and may be another.
    """
    for prompt, tokens in zip(PROMPTS[:3], wanted, strict=False):
        block_end = BLOCK - len(prompt) % BLOCK
        for cut in (block_end, block_end + 2, block_end + 8):
            rest = complete(client, prompt + tokens[:cut], NEW_TOKENS - cut)
            assert len(rest.choices[0].token_ids) == NEW_TOKENS - cut
            if not (len(prompt) + cut) % BLOCK:
                assert rest.choices[0].token_ids == tokens[cut:]


def test_what_is_predicted_to_be_cached_is_what_the_engine_finds(
    real: Fleet, client: openai.OpenAI
) -> None:
    """Pages are blocks of diffusion: prompts and answers are found again by whole ones."""
    assert workers_of(real)[0]["kv_events"] == "current"
    prompt = [200 - token for token in range(150)]
    answer = complete(client, prompt, 11).choices[0].token_ids
    cases = [
        ("the same again", prompt, 148),
        ("ending with a block", prompt[:100], 100),
        ("ending within one", prompt[:51], 48),
        ("less than a block", prompt[:3], 0),
        ("branching off within a block", [*prompt[:42], 5, 5, 5, 5], 40),
        ("with its answer", [*prompt, *answer, 9, 9], 160),
        ("another", [6] * 40, 0),
    ]
    for name, tokens, expected in cases:
        settle(real)
        told = complete(client, tokens, 1, nvext={"extra_fields": ["cached_tokens"]})
        cached = told.nvext["cached_tokens"]
        assert (name, cached["predicted"], cached["actual"]) == (name, expected, expected)
        assert told.usage.prompt_tokens_details.cached_tokens == expected


def test_who_leaves_while_blocks_are_made_leaves_nothing_behind(
    real: Fleet, client: openai.OpenAI, wanted: list[list[int]]
) -> None:
    """With more requests than run at once: some are in the middle of a block, some in their prompt,
    some wait.
    """
    connections = [
        asked(real, ASKED | {"model": MODEL, "prompt": [7, token] * 20 * token, "max_tokens": 60})
        for token in range(1, 8)
    ]
    real.wait_until(lambda: workers_of(real)[0]["engine_requests"] > [4], "the engine is full")
    for connection in connections:
        connection.close()

    def idle() -> bool:
        (worker,) = workers_of(real)
        return not any(worker["engine_requests"] + worker["engine_kv_tokens"] + worker["requests"])

    real.wait_until(idle, "the engine holds nothing")
    assert complete(client, PROMPTS[3], NEW_TOKENS).choices[0].token_ids == wanted[3]


def test_what_has_no_effect_is_refused_and_the_context_ends_with_a_whole_block(
    real: Fleet,
) -> None:
    body = {"model": MODEL, "prompt": [7] * 280, "ignore_eos": True}
    status, answer, _ = post(real, "/v1/completions", body | {"min_tokens": 4})
    assert (status, answer["error"]["param"]) == (400, "min_tokens")
    room = CONTEXT - BLOCK - 280
    status, answer, _ = post(real, "/v1/completions", body | {"max_tokens": room + 1})
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    status, answer, _ = post(real, "/v1/completions", body | {"max_tokens": room})
    assert (status, answer["usage"]["completion_tokens"]) == (200, room)


def test_its_canaries_are_answered(real: Fleet, pages: SystemPages) -> None:
    real.wait_until(
        lambda: pages.metric("kvmesh_worker_canaries_total", dp_rank="0", result="ok") > 0,
        "a canary was answered",
    )
    assert pages.get("/health")[0] == 200
