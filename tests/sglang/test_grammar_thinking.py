"""A grammar begins behind the thinking, and a request that is resumed in either goes on as if
nothing had happened.
"""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from tokenizers import Tokenizer

from protocol.generation import Content, Grammar, Reading, Reasoning
from protocol.tokens import pack_tokens
from workers.demo_model import demo_model_dir

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]

PROMPT = "<|im_start|>user\nWhat is 2+2? Think.<|im_end|>\n<|im_start|>assistant\n"
CHAT = json.dumps({"model": "m", "chat_template_kwargs": {"enable_thinking": True}}).encode()


@pytest.fixture(scope="module")
def thinker(start_engine: Any) -> Any:
    """In float32, so that no two tokens are near enough to each other for the order in which a
    prompt is computed to choose between them.
    """
    return start_engine(
        *("--max-total-tokens", "4096", "--dtype", "float32", "--log-level", "warning"),
        *("--reasoning-parser", "qwen3", "--enable-strict-thinking"),
    )


def _parts(deltas: Sequence[Any], kind: type) -> str:
    return "".join(
        part.text
        for delta in deltas
        if delta.extras
        for part in delta.extras.parts
        if isinstance(part, kind)
    )


def test_a_grammar_holds_the_answer_and_not_the_thinking_wherever_it_is_resumed(
    thinker: Any, make_request: Any, read: Any
) -> None:
    prompt = Tokenizer.from_file(str(demo_model_dir() / "tokenizer.json")).encode(PROMPT).ids
    plain = make_request(prompt, max_new_tokens=100)
    request = replace(
        plain, grammar=Grammar("regex", "[A-Z]{4}[0-9]{3}"), reading=Reading(chat=CHAT)
    )
    [deltas] = thinker.run(request)
    thinking, answer, output = (
        _parts(deltas, Reasoning),
        _parts(deltas, Content),
        read.tokens(deltas),
    )
    assert len(thinking) > 20
    assert (len(answer), answer[:4].isupper(), answer[4:].isdecimal()) == (7, True, True)
    for cut in range(1, len(output)):
        resumed = make_request([*prompt, *output[:cut]], max_new_tokens=100)
        [rest] = thinker.run(
            replace(
                resumed,
                grammar=replace(request.grammar, replayed_tokens=cut),
                reading=replace(request.reading, replayed_tokens=cut),
                token_ids=pack_tokens([*prompt, *output[:cut]]),
            )
        )
        assert output[:cut] + read.tokens(rest) == output
        assert thinking.endswith(_parts(rest, Reasoning))
        assert answer.endswith(_parts(rest, Content))


def test_thinking_ends_where_its_budget_does(thinker: Any, make_request: Any, read: Any) -> None:
    prompt = Tokenizer.from_file(str(demo_model_dir() / "tokenizer.json")).encode(PROMPT).ids
    free = replace(make_request(prompt, max_new_tokens=100), reading=Reading(chat=CHAT))
    [deltas] = thinker.run(free)
    assert read.finish(deltas).reasoning_tokens > 10
    for budget in (0, 5):
        bound = make_request(prompt, max_new_tokens=100)
        [deltas] = thinker.run(
            replace(
                bound,
                reading=free.reading,
                sampling=replace(bound.sampling, custom_params={"thinking_budget": budget}),
            )
        )
        assert read.finish(deltas).reasoning_tokens <= budget + 2  # the marks around it
        assert _parts(deltas, Content)


@pytest.mark.last
def test_stop_fails_what_runs_and_leaves_no_process(
    thinker: Any, make_request: Any, read: Any
) -> None:
    """It ends the engine."""
    request = make_request([1, 2, 3], max_new_tokens=1000, ignore_eos=True)
    thinker.send(request)
    thinker.collect(until=lambda: request.request_id in thinker.by_id)
    assert thinker.stop() == []
    assert read.failure(thinker.by_id[request.request_id]).code == "worker_lost"
    assert thinker.process.popen.returncode == 0
