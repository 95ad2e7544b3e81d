"""/v1/messages as the unmodified Anthropic client sees it."""

from collections.abc import Iterator

import anthropic
import pytest

from tests.fleet.processes import Fleet

GREEDY = {"temperature": 0}
ASK = [{"role": "user", "content": "Tell me of the mesh."}]


@pytest.fixture
def claude(shared: Fleet) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=shared.url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


def test_a_message_as_a_whole(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(model="demo", max_tokens=8, messages=ASK, system="Be brief.", extra_body=GREEDY)
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
    assert (message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)) == counted.input_tokens > 0


def test_a_stream_gives_the_same_message(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(model="demo", max_tokens=12, messages=ASK, extra_body=GREEDY)
    with claude.messages.stream(model="demo", max_tokens=12, messages=ASK, extra_body=GREEDY) as stream:
        kinds = [event.type for event in stream if event.type not in ("text", "content_block_delta")]
        streamed = stream.get_final_message()
    assert kinds == ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]
    assert streamed.content[0].model_dump()["text"] == whole.content[0].model_dump()["text"]
    assert streamed.stop_reason == "max_tokens"
    assert streamed.usage.output_tokens == 12


def test_the_stop_sequence_that_ended_it_is_told(claude: anthropic.Anthropic) -> None:
    text = claude.messages.create(model="demo", max_tokens=16, messages=ASK, extra_body=GREEDY).content[0].model_dump()["text"]
    stop = text.split()[2]
    message = claude.messages.create(model="demo", max_tokens=16, messages=ASK, extra_body=GREEDY, stop_sequences=["never", stop])
    assert message.stop_reason == "stop_sequence"
    assert message.stop_sequence == stop
    assert message.content[0].model_dump()["text"] == text[: text.index(stop)]
    with claude.messages.stream(model="demo", max_tokens=16, messages=ASK, extra_body=GREEDY, stop_sequences=[stop]) as stream:
        assert stream.get_final_message().stop_sequence == stop


def test_history_with_tools_and_thinking_is_rendered(claude: anthropic.Anthropic) -> None:
    history = [
        {"role": "user", "content": [{"type": "text", "text": "Weather?", "cache_control": {"type": "ephemeral"}}]},
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
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "Sunny in Bern."}]},
                {"type": "text", "text": "And tomorrow?"},
            ],
        },
    ]
    tools = [{"name": "weather", "description": "Tells it", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
    with_tools = claude.messages.count_tokens(model="demo", messages=history, tools=tools).input_tokens
    assert with_tools > claude.messages.count_tokens(model="demo", messages=history[:1], tools=tools).input_tokens
    message = claude.messages.create(model="demo", max_tokens=4, messages=history, tools=tools, tool_choice={"type": "none"})
    assert message.usage.output_tokens == 4


def test_a_last_message_of_the_assistant_is_continued(claude: anthropic.Anthropic) -> None:
    opened = [*ASK, {"role": "assistant", "content": "The mesh is"}]
    closed = [*ASK, {"role": "assistant", "content": "The mesh is"}, {"role": "user", "content": ""}]
    count = claude.messages.count_tokens
    assert count(model="demo", messages=opened).input_tokens < count(model="demo", messages=closed).input_tokens
    assert claude.messages.create(model="demo", max_tokens=4, messages=opened).usage.output_tokens == 4


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x"}}]}]}, "image"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]}]}, "tool_use"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4000}}, "max_tokens"),
        ({"thinking": {"type": "enabled"}}, "budget_tokens"),
        ({"extra_body": {"mcp_servers": []}}, "mcp_servers"),
        ({"extra_body": {"top_q": 1}}, "top_q"),
        ({"max_tokens": 100_000}, "context length"),
    ],
)
def test_what_cannot_be_honoured_is_a_400_that_names_it(claude: anthropic.Anthropic, change: dict[str, object], named: str) -> None:
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
        claude.with_options(default_headers={"x-request-timeout-ms": "1"}).messages.create(model="demo", max_tokens=4000, messages=ASK)
    assert late.value.status_code == 504
    assert late.value.body["error"]["type"] == "timeout_error"
    status, body = shared.get("/v1/messages")
    assert status == 405
    assert body["type"] == "error"
