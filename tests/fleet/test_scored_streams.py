"""Log probabilities, usage and choices over real processes, also when a worker dies in the midst of
them.
"""

import asyncio
import signal
from typing import Any

import openai
import pytest

from tests.fault.streams import SIM, moved, on_each_worker
from tests.kit.fleet import Fleet
from workers.sim.scores import logprob_of

CHAT: dict[str, Any] = {
    "model": "demo",
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 12,
}


def test_every_token_of_a_chat_is_scored_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**CHAT, logprobs=True, top_logprobs=3)
    assert whole.usage is not None
    assert whole.choices[0].logprobs is not None
    content = whole.choices[0].logprobs.content or []
    assert "".join(entry.token for entry in content) == whole.choices[0].message.content
    assert len(content) in (whole.usage.completion_tokens, whole.usage.completion_tokens - 1)
    assert all(
        entry.top_logprobs[0].token == entry.token and len(entry.top_logprobs) == 3
        for entry in content
    )
    chunks = [
        chunk.choices[0]
        for chunk in client.chat.completions.create(
            **CHAT, logprobs=True, top_logprobs=3, stream=True
        )
    ]
    streamed = [
        entry for chunk in chunks if chunk.logprobs for entry in chunk.logprobs.content or []
    ]
    assert streamed == content


def test_who_does_not_ask_is_told_nothing(client: openai.OpenAI) -> None:
    assert client.chat.completions.create(**CHAT).choices[0].logprobs is None
    assert (
        client.completions.create(model="demo", prompt="x", max_tokens=2).choices[0].logprobs
        is None
    )


@pytest.mark.parametrize("stream", [False, True])
def test_what_ended_an_answer_is_told_and_no_score_is_not_null(
    client: openai.OpenAI, stream: bool
) -> None:
    """Also where nothing came but the token that ended it, whose score is told."""

    def last(create: Any, **fields: Any) -> Any:
        answer = create(model="demo", max_tokens=4, seed=1, stream=stream, **fields)
        return list(answer)[-1].choices[0] if stream else answer.choices[0]

    as_ids = {"return_tokens_as_token_ids": True}
    chat, plain = client.chat.completions.create, client.completions.create
    asked: dict[str, Any] = {"messages": CHAT["messages"], "logprobs": True}
    begun = client.chat.completions.create(
        model="demo", max_tokens=1, seed=1, extra_body=as_ids, **asked
    ).choices[0]
    token_id = int(begun.logprobs.content[0].token.removeprefix("token_id:"))  # type: ignore[union-attr,index]
    ended = last(chat, extra_body=as_ids | {"stop_token_ids": [token_id]}, **asked)
    assert (ended.finish_reason, ended.matched_stop, ended.stop_reason) == (
        "stop",
        token_id,
        token_id,
    )
    assert [entry.token for entry in ended.logprobs.content] == [f"token_id:{token_id}"]
    begun = client.completions.create(
        model="demo", max_tokens=1, seed=1, prompt="x", logprobs=0, extra_body=as_ids
    ).choices[0]
    name = begun.logprobs.tokens[0]  # type: ignore[union-attr,index]
    token_id = int(name.removeprefix("token_id:"))
    stops = {"stop_token_ids": [token_id]}
    ended = last(plain, prompt="x", logprobs=0, extra_body=as_ids | stops)
    assert (ended.text, ended.matched_stop) == ("", token_id)
    assert (ended.logprobs.tokens, ended.logprobs.text_offset) == ([name], [0])
    ended = last(plain, prompt="x")
    assert (ended.finish_reason, ended.matched_stop, ended.stop_reason, ended.logprobs) == (
        "length",
        None,
        None,
        None,
    )
    word = (
        client.completions.create(model="demo", max_tokens=4, seed=1, prompt="x")
        .choices[0]
        .text.split()[1]
    )
    ended = last(plain, prompt="x", stop=[word])
    assert (ended.finish_reason, ended.matched_stop, ended.stop_reason) == ("stop", word, word)


@pytest.mark.parametrize("stream", [False, True])
def test_an_echo_without_output(client: openai.OpenAI, stream: bool) -> None:
    answer: Any = client.completions.create(
        model="demo", prompt=[5, 6, 7], max_tokens=0, echo=True, logprobs=1, stream=stream
    )
    choices = [chunk.choices[0] for chunk in answer] if stream else [answer.choices[0]]
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["length"]
    [told] = [choice.logprobs for choice in choices if choice.logprobs]
    assert told.token_logprobs == [None, logprob_of(6), logprob_of(7)]
    assert "".join(told.tokens) == "".join(choice.text for choice in choices)


def test_choices_have_ids_of_their_own_and_one_prompts_tokens_count_once(
    client: openai.OpenAI,
) -> None:
    answer = client.completions.create(
        model="demo", prompt=list(range(10, 600)), n=16, max_tokens=3, seed=1
    )
    assert [choice.index for choice in answer.choices] == list(range(16))
    assert len({choice.text for choice in answer.choices}) > 1
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (590, 48)
    with pytest.raises(openai.BadRequestError) as raised:
        client.completions.create(model="demo", prompt="x", n=129)
    assert raised.value.param == "n"


def test_many_choices_of_a_long_prompt_that_say_nothing(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="demo", prompt=list(range(10, 700)), n=4, max_tokens=0, echo=True, logprobs=0
    )
    assert len({choice.text for choice in answer.choices}) == 1
    assert all(
        len(choice.logprobs.tokens or []) == 690 for choice in answer.choices if choice.logprobs
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 0


def test_choices_of_several_prompts_come_in_order(client: openai.OpenAI) -> None:
    prompts = [list(range(10, 300)), [11, 12, 13], list(range(20, 320))]
    answer = client.completions.create(model="demo", prompt=prompts, n=3, max_tokens=1, echo=True)
    assert [choice.index for choice in answer.choices] == list(range(9))
    echoes = [choice.text for choice in answer.choices]
    assert len({echo[:20] for echo in echoes[0:3]}) == len({echo[:20] for echo in echoes[6:9]}) == 1
    assert len({echoes[at][:20] for at in (0, 3, 6)}) == 3


def test_usage_grows_with_the_chunks(client: openai.OpenAI) -> None:
    options: Any = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(client.chat.completions.create(**CHAT, n=2, stream=True, stream_options=options))
    counts = [chunk.usage.completion_tokens if chunk.usage else -1 for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[0] > 0
    assert (chunks[-1].choices, counts[-1]) == ([], counts[-2])


@pytest.mark.parametrize("stream", [False, True])
def test_cached_tokens_are_told_also_of_an_answer_that_a_stop_string_ends(
    client: openai.OpenAI, stream: bool
) -> None:
    prompt = [900 + stream, *range(10, 500)]
    text = (
        client.completions.create(model="demo", prompt=prompt, max_tokens=40, seed=1)
        .choices[0]
        .text
    )
    options: Any = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answer: Any = client.completions.create(
        model="demo", prompt=prompt, max_tokens=40, seed=1, stop=text[4:8], **options
    )
    usage = list(answer)[-1].usage if stream else answer.usage
    assert usage.prompt_tokens_details.cached_tokens >= 448
    assert usage.completion_tokens < 40


def test_a_tier_is_answered_with_the_only_one(client: openai.OpenAI) -> None:
    assert client.chat.completions.create(**CHAT, service_tier="flex").service_tier == "default"
    assert client.chat.completions.create(**CHAT).service_tier is None


def test_unknown_fields_are_refused_where_the_operator_says_so(fleet: Fleet) -> None:
    fleet.frontend("--unknown-fields", "refuse")
    fleet.worker("--served-model-name", "demo", "--sim-speedup", "0")
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(**CHAT, extra_body={"max_token": 4})
        assert (raised.value.param, "'max_tokens'" in raised.value.message) == ("max_token", True)
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(**CHAT, verbosity="low")
        assert raised.value.param == "verbosity"


async def test_nothing_is_missing_or_twice_when_a_worker_dies(fleet: Fleet) -> None:
    fleet.frontend()
    workers = {name: fleet.worker(*SIM, "--worker-id", name) for name in ("w0", "w1")}
    fleet.wait_for_workers(2)
    request: dict[str, Any] = {
        "model": "demo",
        "prompt": [7, 8, 9],
        "max_tokens": 300,
        "logprobs": 2,
        "echo": True,
        "seed": 5,
    }
    request["extra_body"] = {"return_tokens_as_token_ids": True}

    async def tell(on_fifth: asyncio.Event) -> tuple[list[str], list[Any], list[int]]:
        tokens, values, offsets, chunks = list[str](), list[Any](), list[int](), 0
        async for chunk in await client.completions.create(**request, stream=True):
            chunks += 1
            if chunks == 5:
                on_fifth.set()
            if chunk.choices[0].logprobs:
                tokens += chunk.choices[0].logprobs.tokens or []
                values += chunk.choices[0].logprobs.token_logprobs or []
                offsets += chunk.choices[0].logprobs.text_offset or []
        return tokens, values, offsets

    async with fleet.async_client() as client:
        undisturbed = await tell(asyncio.Event())
        begun = asyncio.Event()
        telling = asyncio.create_task(tell(begun))
        await begun.wait()
        runs = await asyncio.to_thread(on_each_worker, fleet)
        workers[max(runs, key=runs.__getitem__)].popen.send_signal(signal.SIGKILL)
        tokens, values, offsets = await telling
    assert moved(fleet, cause="died") == 1
    assert (tokens, values, offsets) == undisturbed
    assert len(tokens) == 303
    assert values[0] is None
    assert values[1:] == [logprob_of(int(token.removeprefix("token_id:"))) for token in tokens[1:]]
    assert offsets == sorted(offsets)
