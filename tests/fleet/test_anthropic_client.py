"""/v1/messages as the unmodified Anthropic client sees it."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.kit.fleet import Fleet

GREEDY = {"temperature": 0}
ASK = [{"role": "user", "content": "Tell me of the mesh."}]


@pytest.fixture
def claude(shared: Fleet) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=shared.url, api_key="none", max_retries=0, timeout=60
    ) as client:
        yield client


def test_a_message_as_a_whole(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(
        model="demo", max_tokens=8, messages=ASK, system="Be brief.", extra_body=GREEDY
    )
    assert message.type == "message"
    assert message.role == "assistant"
    assert message.id.startswith("msg_")
    (block,) = message.content
    assert block.type == "text"
    assert block.text
    assert message.stop_reason == "max_tokens"
    assert message.stop_sequence is None
    assert message.usage.output_tokens == 8
    counted = claude.messages.count_tokens(model="demo", messages=ASK, system="Be brief.")
    assert (
        (message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0))
        == counted.input_tokens
        > 0
    )


def test_a_stream_gives_the_same_message(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(model="demo", max_tokens=12, messages=ASK, extra_body=GREEDY)
    with claude.messages.stream(
        model="demo", max_tokens=12, messages=ASK, extra_body=GREEDY
    ) as stream:
        kinds = [
            event.type for event in stream if event.type not in ("text", "content_block_delta")
        ]
        streamed = stream.get_final_message()
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert streamed.content[0].model_dump()["text"] == whole.content[0].model_dump()["text"]
    assert streamed.stop_reason == "max_tokens"
    assert streamed.usage.output_tokens == 12


def test_the_stop_sequence_that_ended_it_is_told(claude: anthropic.Anthropic) -> None:
    text = (
        claude.messages.create(model="demo", max_tokens=16, messages=ASK, extra_body=GREEDY)
        .content[0]
        .model_dump()["text"]
    )
    stop = text.split()[2]
    message = claude.messages.create(
        model="demo", max_tokens=16, messages=ASK, extra_body=GREEDY, stop_sequences=["never", stop]
    )
    assert message.stop_reason == "stop_sequence"
    assert message.stop_sequence == stop
    assert message.content[0].model_dump()["text"] == text[: text.index(stop)]
    with claude.messages.stream(
        model="demo", max_tokens=16, messages=ASK, extra_body=GREEDY, stop_sequences=[stop]
    ) as stream:
        assert stream.get_final_message().stop_sequence == stop


def test_history_with_tools_and_thinking_is_rendered(claude: anthropic.Anthropic) -> None:
    history = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Weather?", "cache_control": {"type": "ephemeral"}}
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Ask the tool.", "signature": ""},
                {"type": "text", "text": "One moment."},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "Sunny in Bern."}],
                },
                {"type": "text", "text": "And tomorrow?"},
            ],
        },
    ]
    tools = [
        {
            "name": "weather",
            "description": "Tells it",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
        }
    ]
    with_tools = claude.messages.count_tokens(
        model="demo", messages=history, tools=tools
    ).input_tokens
    assert (
        with_tools
        > claude.messages.count_tokens(model="demo", messages=history[:1], tools=tools).input_tokens
    )
    message = claude.messages.create(
        model="demo", max_tokens=4, messages=history, tools=tools, tool_choice={"type": "none"}
    )
    assert message.usage.output_tokens == 4


def test_a_last_message_of_the_assistant_is_continued(claude: anthropic.Anthropic) -> None:
    opened = [*ASK, {"role": "assistant", "content": "The mesh is"}]
    closed = [
        *ASK,
        {"role": "assistant", "content": "The mesh is"},
        {"role": "user", "content": ""},
    ]
    count = claude.messages.count_tokens
    assert (
        count(model="demo", messages=opened).input_tokens
        < count(model="demo", messages=closed).input_tokens
    )
    assert (
        claude.messages.create(model="demo", max_tokens=4, messages=opened).usage.output_tokens == 4
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image", "source": {"type": "url", "url": "http://x"}}
                        ],
                    }
                ]
            },
            "messages[0].content[0].source.url: ",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}],
                    }
                ]
            },
            "tool_use",
        ),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4000}}, "max_tokens"),
        ({"thinking": {"type": "enabled"}}, "budget_tokens"),
        ({"extra_body": {"mcp_servers": [{"type": "url"}]}}, "mcp_servers"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ],
)
def test_what_cannot_be_honoured_is_a_400_that_names_it(
    claude: anthropic.Anthropic, change: dict[str, object], named: str
) -> None:
    with pytest.raises(anthropic.BadRequestError) as raised:
        claude.messages.create(**({"model": "demo", "max_tokens": 100, "messages": ASK} | change))
    body = raised.value.body
    assert isinstance(body, dict)
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert named in body["error"]["message"]


def test_errors_have_their_status(claude: anthropic.Anthropic, shared: Fleet) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        claude.messages.create(model="nobody", max_tokens=1, messages=ASK)
    assert missing.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.APIStatusError) as late:
        claude.with_options(default_headers={"x-request-timeout-ms": "1"}).messages.create(
            model="demo", max_tokens=4000, messages=ASK
        )
    assert late.value.status_code == 504
    assert late.value.body["error"]["type"] == "timeout_error"
    status, body = shared.get("/v1/messages")
    assert status == 405
    assert body["type"] == "error"


def test_claude_codes_request_is_taken_and_what_has_no_effect_is_named(
    claude: anthropic.Anthropic,
) -> None:
    """As its first one is, but for the length of its texts."""
    raw = claude.messages.with_raw_response.create(
        model="demo",
        max_tokens=4,
        system=[
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2; cch=1;"},
            {"type": "text", "text": "Be brief."},
        ],
        messages=[*ASK, {"role": "system", "content": [{"type": "text", "text": "# Environment"}]}],  # pyright: ignore[reportArgumentType]
        tools=[{"name": "Wait", "input_schema": {"type": "object"}, "defer_loading": True}],
        thinking={"type": "adaptive", "display": "omitted"},
        output_config={"effort": "high"},
        metadata={"user_id": "u"},
        extra_body={
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "output_config": {"effort": "high", "task_budget": {"type": "tokens", "total": 1000}},
            "made_up": 1,
        },
    )
    assert raw.headers["x-kvmesh-ignored"] == "output_config.task_budget, made_up"
    assert raw.parse().model_dump()["context_management"] == {"applied_edits": []}
    assert (
        "x-kvmesh-ignored"
        not in claude.messages.with_raw_response.create(
            model="demo", max_tokens=1, messages=ASK
        ).headers
    )


def test_sessions_of_claude_code_share_their_prefix(claude: anthropic.Anthropic) -> None:
    def cached(session: str) -> int:
        line, prompt = (
            f"x-anthropic-billing-header: cc_version=2; cch={session};",
            "All agents begin with this. " * 40,
        )
        system: Any = [{"type": "text", "text": line}, {"type": "text", "text": prompt}]
        return (
            claude.messages.create(
                model="demo", max_tokens=1, messages=ASK, system=system
            ).usage.cache_read_input_tokens
            or 0
        )

    assert cached("1a2b3") == 0
    assert cached("4c5d6") > 192


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_comes_to_the_end_of_the_context_says_so(
    claude: anthropic.Anthropic, stream: bool
) -> None:
    create = claude.messages.create
    if stream:
        events = create(model="demo", max_tokens=100_000, messages=ASK, stream=True)
        reason = next(event.delta.stop_reason for event in events if event.type == "message_delta")
    else:
        reason = create(model="demo", max_tokens=100_000, messages=ASK, timeout=60).stop_reason
    assert reason == "model_context_window_exceeded"
