"""The golden answers of the demo model that sees, for tests: read without torch and Pillow."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Entry = dict[str, Any]


def golden_entries() -> list[Entry]:
    """All of them."""
    return json.loads((HERE / "golden.json").read_text("utf-8"))


def golden_entry(name: str) -> Entry:
    """The one of that name."""
    return next(entry for entry in golden_entries() if entry["name"] == name)


def picture_file(name: str) -> Path:
    """The PNG of a picture that an entry names."""
    return HERE / "pictures" / f"{name}.png"


def data_uri(name: str) -> str:
    """The picture as clients send it."""
    return "data:image/png;base64," + b64encode(picture_file(name).read_bytes()).decode()


def chat_messages(entry: Entry) -> list[dict[str, Any]]:
    """Its messages for /v1/chat/completions, each picture an image_url of a data URI."""
    waiting = iter(entry["pictures"])

    def sent(part: dict[str, Any]) -> dict[str, Any]:
        if part["type"] != "image":
            return part
        return {"type": "image_url", "image_url": {"url": data_uri(next(waiting))}}

    messages: list[dict[str, Any]] = []
    for number, message in enumerate(entry["messages"]):
        content = message["content"]
        told = content if isinstance(content, str) else [sent(part) for part in content]
        messages.append({**message, "content": told, **_call_fields(message, number)})
    return messages


def _call_fields(message: dict[str, Any], number: int) -> dict[str, Any]:
    """What OpenAI's messages have around a call of a tool."""
    if message["role"] == "tool":
        return {"tool_call_id": f"call_{number - 1}"}
    if "tool_calls" not in message:
        return {}
    calls = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {
                "name": call["function"]["name"],
                "arguments": json.dumps(call["function"]["arguments"]),
            },
        }
        for call in message["tool_calls"]
    ]
    return {"tool_calls": calls}
