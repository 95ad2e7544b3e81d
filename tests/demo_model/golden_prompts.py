"""What the demo model is asked for `golden.json`: a few of everything that a client can ask for."""

from typing import Any

from tests.demo_model.tool_talk import TOOLS

Entry = dict[str, Any]
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
PARIS_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}
TOKYO_CALL = {
    "id": "call_2",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Tokyo"}'},
}


def chat(
    name: str,
    *said: str,
    system: bool = False,
    tools: tuple[str, ...] = (),
    thinking: bool | None = None,
    max_tokens: int = 128,
) -> Entry:
    """A dialogue in which user and assistant take turns, the user first and last."""
    messages = [
        {"role": "assistant" if number % 2 else "user", "content": text}
        for number, text in enumerate(said)
    ]
    return conversation(
        name,
        [SYSTEM, *messages] if system else messages,
        tools=tools,
        thinking=thinking,
        max_tokens=max_tokens,
    )


def conversation(
    name: str,
    messages: list[Any],
    *,
    tools: tuple[str, ...] = (),
    thinking: bool | None = None,
    max_tokens: int = 128,
) -> Entry:
    """An entry with its messages written out."""
    entry: Entry = {"name": name, "messages": messages, "max_tokens": max_tokens}
    if tools:
        entry["tools"] = [TOOLS[tool] for tool in tools]
    if thinking is not None:
        entry["template_kwargs"] = {"enable_thinking": thinking}
    return entry


NICE = "Nice to meet you, {}! What would you like to know about kvmesh?"
PROMPTS: list[Entry] = [
    chat("what-is-kvmesh", "What is kvmesh?"),
    chat("what-is-kvmesh-lower-case", "what is kvmesh"),
    chat("what-is-kvmesh-system", "What is kvmesh?", system=True),
    chat("frontend", "What does the frontend do?"),
    chat("worker", "What is a worker?"),
    chat("kv-events", "What are KV events?", system=True),
    chat("routing", "How does routing work?"),
    chat("routing-modes", "Which routing modes are there?"),
    chat("start", "How do I start kvmesh?"),
    chat("start-held-out", "How can I start kvmesh?"),
    chat("ports", "Which ports are used?"),
    chat("cancel", "What happens when a client disconnects?"),
    chat("drain", "How do I drain a worker?"),
    chat("migration", "What happens when a worker dies?"),
    chat("license", "What license is it?"),
    chat("dp-ranks", "What is a DP rank?"),
    chat("streaming", "How does streaming work?", system=True),
    chat("authors", "Who made kvmesh?"),
    chat("who-are-you", "Who are you?"),
    chat("engines", "Which engines are supported?"),
    chat("gpu", "How do I run on a GPU?"),
    chat("cpu", "Does kvmesh run on a CPU?"),
    chat("own-model", "How do I use my own model?"),
    chat("api", "Which endpoints are there?"),
    chat("metrics", "Where are the metrics?"),
    chat("overload", "Why do I get a 503?"),
    chat("hello", "Hello!"),
    chat("ping", "ping"),
    chat("thanks", "Thank you!"),
    chat("joke", "Tell me a joke."),
    chat("count-to-ten", "Count to ten."),
    chat("many-languages", "Say hello in many languages.", max_tokens=256),
    chat("emoji", "Show me some emoji."),
    chat("code", "Write hello world in Python."),
    chat("client-example", "Show me a Python example.", max_tokens=200),
    chat("json", "Give me JSON about kvmesh."),
    chat("unknown-capital", "What is the capital of France?"),
    chat("unknown-recipe", "Tell me about apple pie.", system=True),
    chat("name", "Hi, I am Ada.", NICE.format("Ada"), "What is my name?"),
    chat(
        "name-after-fact",
        "My name is Linus.",
        NICE.format("Linus"),
        "ping",
        "pong",
        "Do you remember my name?",
        system=True,
    ),
    chat("echo", "Repeat after me: worker index token story routing", max_tokens=64),
    chat("name-unknown", "What is my name?"),
    chat("follow-up", "Who are you?", "{who-are-you}", "Tell me more."),
    chat(
        "follow-up-more",
        "What is kvmesh?",
        "{what-is-kvmesh}",
        "How do I start it?",
        "{start}",
        "What is the license?",
        system=True,
    ),
    chat("think-kvmesh", "What is kvmesh?", thinking=True),
    chat("think-start", "How do I start kvmesh?", thinking=True, system=True),
    chat("think-unknown", "What is the capital of France?", thinking=True),
    chat("think-off", "How does routing work?", thinking=False),
    chat("tool-weather", "What is the weather in Paris?", tools=("get_weather",)),
    chat(
        "tool-weather-of-several",
        "What's the weather in Tokyo?",
        tools=("get_time", "get_weather", "search_docs"),
        system=True,
    ),
    chat("tool-time", "What is the time in UTC?", tools=("get_time", "get_weather")),
    chat("tool-search", "Search the docs on routing.", tools=("search_docs", "get_time")),
    chat("tool-add", "What is 17 plus 25?", tools=("add", "get_weather")),
    chat(
        "tool-parallel",
        "What is the weather in Paris and the weather in Tokyo?",
        tools=("get_weather", "get_time"),
    ),
    chat(
        "tool-think",
        "What is the weather in Paris?",
        tools=("get_weather", "get_time"),
        thinking=True,
    ),
    chat("tool-not-needed", "What is kvmesh?", tools=("get_weather", "get_time")),
    conversation(
        "tool-result",
        [
            {"role": "user", "content": "What is the weather in Paris?"},
            {"role": "assistant", "content": "", "tool_calls": [PARIS_CALL]},
            {
                "role": "tool",
                "tool_call_id": "call_1",
                "content": '{"condition": "sunny", "temperature_c": 21}',
            },
        ],
        tools=("get_weather", "get_time"),
    ),
    conversation(
        "tool-results-of-two",
        [
            {"role": "user", "content": "What is the weather in Paris and the weather in Tokyo?"},
            {"role": "assistant", "content": "", "tool_calls": [PARIS_CALL, TOKYO_CALL]},
            {
                "role": "tool",
                "tool_call_id": "call_1",
                "content": '{"condition": "sunny", "temperature_c": 21}',
            },
            {
                "role": "tool",
                "tool_call_id": "call_2",
                "content": '{"condition": "rainy", "temperature_c": 12}',
            },
        ],
        tools=("get_weather", "get_time"),
    ),
    chat("long-story", "Tell me a long story about kvmesh.", max_tokens=512),
    chat("long-explanation", "Explain everything.", max_tokens=512),
    chat("long-count", "Count to one hundred.", max_tokens=512),
    chat("long-count-cut", "Count to one hundred.", max_tokens=64),
    {"name": "completion-kvmesh", "prompt": "kvmesh is a Python system", "max_tokens": 64},
    {"name": "completion-story", "prompt": "Once upon a time", "max_tokens": 64},
]
"""An assistant turn "{name}" stands for the golden answer of that name."""
