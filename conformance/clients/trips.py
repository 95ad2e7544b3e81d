"""One schema and one tool for every client.

Whatever the model knows, its answer is short: each field is of a few characters.
"""

from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field


class City(StrEnum):
    PARIS = "Paris"
    ROME = "Rome"


class Trip(BaseModel):
    """Where to and for how long."""

    model_config = ConfigDict(extra="forbid")

    city: City
    days: int = Field(ge=1, le=9)
    by_train: bool


TRIP_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Paris", "Rome"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "by_train": {"type": "boolean"},
    },
    "required": ["city", "days", "by_train"],
    "additionalProperties": False,
}

BOOK_TRIP: Final[Any] = {
    "type": "function",
    "function": {"name": "book_trip", "description": "Book a trip.", "parameters": TRIP_SCHEMA},
}
TELL_TIME: Final[Any] = {
    "type": "function",
    "function": {
        "name": "tell_time",
        "description": "The time in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
TOOLS: Final[Any] = [BOOK_TRIP, TELL_TIME]

QUESTION: Final[Any] = [{"role": "user", "content": "What is kvmesh?"}]
TRIP_QUESTION: Final[Any] = [
    {"role": "user", "content": "Book a trip to Rome by train for three days."}
]

NO_LOOPS: Final[dict[str, Any]] = {"temperature": 0, "frequency_penalty": 1}
"""For answers under a grammar: JSON may have any number of line breaks, and so small a model goes
on with them for ever. Penalties end that, and greedy answers are the same every time.
"""

ONE_CALL: Final[dict[str, Any]] = {**NO_LOOPS, "parallel_tool_calls": False}
"""For forced calls; SGLang lets the model go on with text or further calls otherwise."""
