"""Dialogues in which the demo model calls tools: one call, two at once, and the answer made from
their results.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

Message = dict[str, Any]
Values = dict[str, list[str]]


@dataclass(frozen=True)
class Use:
    """One call: how it is asked for, what is called, what the tool returns and what is then
    said.
    """

    wish: str
    name: str
    arguments: dict[str, Any]
    result: str
    told: str


def function(name: str, description: str, properties: dict[str, str]) -> Message:
    """A tool as OpenAI clients send it; `properties` maps parameter to JSON type."""
    parameters = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in properties.items()},
        "required": list(properties),
    }
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


TOOLS = {
    "get_weather": function("get_weather", "Current weather of a city", {"city": "string"}),
    "get_time": function("get_time", "Current time in a timezone", {"timezone": "string"}),
    "search_docs": function("search_docs", "Search the documentation", {"query": "string"}),
    "add": function("add", "Add two numbers", {"a": "number", "b": "number"}),
}


def weather_use(values: Values, rng: Random) -> Use:
    city, condition, degrees = (
        rng.choice(values["cities"]),
        rng.choice(values["conditions"]),
        rng.randint(1, 35),
    )
    result = json.dumps({"condition": condition, "temperature_c": degrees})
    return Use(
        f"the weather in {city}",
        "get_weather",
        {"city": city},
        result,
        f"it is {condition} and {degrees} degrees in {city}",
    )


def time_use(values: Values, rng: Random) -> Use:
    zone, clock = (
        rng.choice(values["timezones"]),
        f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}",
    )
    return Use(
        f"the time in {zone}",
        "get_time",
        {"timezone": zone},
        json.dumps({"time": clock}),
        f"it is {clock} in {zone}",
    )


def search_use(values: Values, rng: Random) -> Use:
    query, found = rng.choice(values["queries"]), rng.choice(values["snippets"])
    return Use(
        f"the docs on {query}",
        "search_docs",
        {"query": query},
        json.dumps({"text": found}),
        f"the docs say: {found}",
    )


def add_use(values: Values, rng: Random) -> Use:
    a, b = rng.randint(0, 99), rng.randint(0, 99)
    return Use(
        f"{a} plus {b}",
        "add",
        {"a": a, "b": b},
        json.dumps({"sum": a + b}),
        f"{a} plus {b} is {a + b}",
    )


USES: dict[str, Callable[[Values, Random], Use]] = {
    "get_weather": weather_use,
    "get_time": time_use,
    "search_docs": search_use,
    "add": add_use,
}
ASK = {
    "get_weather": [
        "What is {}?",
        "What's {}?",
        "How is {}?",
        "Tell me {}.",
        "I want to know {}.",
        "How is {} today?",
    ],
    "get_time": [
        "What is {}?",
        "What's {}?",
        "Tell me {}.",
        "I want to know {}.",
        "Do you know {}?",
    ],
    "search_docs": ["Search {}.", "Look into {}.", "Please search {}.", "Find {}."],
    "add": ["What is {}?", "What's {}?", "How much is {}?", "Compute {}.", "Tell me {}."],
}


def tool_dialogue(
    values: Values, rng: Random, *, thinking: bool
) -> tuple[list[Message], list[Message]]:
    """(messages, tools): half of them end with the call, half with the answer made from the
    result.
    """
    names = [rng.choice(["get_weather", "get_weather", "get_time", "search_docs", "add"])]
    if rng.random() < 0.35:
        names = rng.choice([["get_weather", "get_weather"], ["get_weather", "get_time"]])
    uses = [USES[name](values, rng) for name in names]
    wish = " and ".join(use.wish for use in uses)
    question = rng.choice(ASK[names[0]]).format(wish)
    if rng.random() < 0.3:
        question = question.rstrip("?.")
    answered = rng.random() < 0.5
    call: Message = {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"function": {"name": use.name, "arguments": use.arguments}} for use in uses
        ],
    }
    if thinking:
        call["reasoning_content"] = f"The user wants {wish}. I call {' and '.join(names)}."
    messages: list[Message] = [{"role": "user", "content": question}, call]
    if answered:
        told = ", and ".join(use.told for use in uses)
        told = told[0].upper() + told[1:]
        answer: Message = {
            "role": "assistant",
            "content": told if told.endswith(".") else told + ".",
        }
        if thinking:
            answer["reasoning_content"] = "I have the result. I tell it."
        messages += [*({"role": "tool", "content": use.result} for use in uses), answer]
    offered = {*names, *rng.sample(sorted(TOOLS), rng.randint(0, 2))}
    tools = [vary(TOOLS[name], rng) for name in rng.sample(sorted(offered), len(offered))]
    return messages, tools


def vary(tool: Message, rng: Random) -> Message:
    """The same tool as another client library would write it; most of the time as it is."""
    if rng.random() < 0.6:
        return tool
    described = tool["function"]
    schema = dict(described["parameters"])
    if rng.random() < 0.4:
        schema["properties"] = {
            key: {**kind, "description": f"The {key}"} for key, kind in schema["properties"].items()
        }
    if rng.random() < 0.4:
        schema["additionalProperties"] = False
    if rng.random() < 0.2:
        del schema["required"]
    changed = {"name": described["name"], "parameters": schema}
    if rng.random() < 0.8:
        changed["description"] = described["description"]
    return {"type": "function", "function": changed}
