"""Requests that are small but for one or two places of any depth, which are large in one of many
ways: each from a seed.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import inspect

from frontend.api.anthropic.schemas import CountTokensRequest, MessagesRequest
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.api.native.schemas import GenerateRequest
from frontend.api.native.tokenizing import DetokenizeRequest, TokenizeRequest
from frontend.api.responses.schemas import ResponsesRequest
from frontend.api.vectors.schemas import EmbeddingRequest, RerankRequest, ScoreRequest

ENDPOINTS: Final[dict[str, type[msgspec.Struct]]] = {
    "/v1/chat/completions": ChatCompletionRequest,
    "/v1/completions": CompletionRequest,
    "/v1/responses": ResponsesRequest,
    "/v1/messages": MessagesRequest,
    "/v1/messages/count_tokens": CountTokensRequest,
    "/generate": GenerateRequest,
    "/tokenize": TokenizeRequest,
    "/detokenize": DetokenizeRequest,
    "/v1/embeddings": EmbeddingRequest,
    "/v1/rerank": RerankRequest,
    "/v1/score": ScoreRequest,
}

_VECTORS: Final = ("/v1/embeddings", "/v1/rerank", "/v1/score")

CAP_BYTES: Final = 45_000_000

_PARAMETERS: Final = {
    "type": "object",
    "properties": {"a": {"type": "string", "enum": ["x"]}},
    "required": ["a"],
}
_CALL: Final = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
_NAMED: Final[dict[str, list[Any]]] = {
    "stream": [True],
    "messages": [
        [{"role": "user", "content": "x"}],
        [{"role": "system", "content": "x"}, {"role": "user", "content": [{"type": "text",
        "text": "x"}]}],
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": None,
        "tool_calls": [_CALL]}, {"role": "tool", "content": "x"}],
    ],
    "input": [
        "x",
        [{"role": "user", "content": "x"}],
        [{"role": "system", "content": [{"type": "input_text", "text": "x"}]}],
        [{"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}],
    ],
    "tools": [
        [{"type": "function", "function": {"name": "f", "parameters": _PARAMETERS,
        "strict": True}}],
        [{"type": "function", "name": "f", "parameters": _PARAMETERS}],
        [{"name": "f", "input_schema": _PARAMETERS}],
    ],
    "schema": [_PARAMETERS],
    "max_tokens": [1, 1, 64, 2_000],
    "max_output_tokens": [1, 64],
    "max_completion_tokens": [1, 64],
    "n": [1, 2, 128],
    "prompt": ["x", [1, 2], ["x", "y"], [[1], [2, 3]]],
    "nvext": [{"cache_salt": "x"}],
    "sampling_params": [{"max_new_tokens": 1}, {"max_new_tokens": 64, "n": 4, "stop": "x"}],
}  # fmt: skip
"""Field → values that are taken for it, since its type says little."""


@dataclass(frozen=True)
class Attack:
    """One request, and what is large in it."""

    path: str
    body: bytes
    about: str


def attack(seed: int, *, bytes_max: int = CAP_BYTES) -> Attack:
    """The request of that seed."""
    rnd = random.Random(seed)
    path = rnd.choice(list(ENDPOINTS))
    request = _struct(inspect.type_info(ENDPOINTS[path]), rnd, share=rnd.choice((0.0, 0.05, 0.3)))
    request["model"] = "vectors" if path in _VECTORS else "demo"
    size = int(10 ** rnd.uniform(4.5, 7.65))
    places = list(_places(request))
    about: list[str] = []
    blobs: dict[str, bytes] = {}
    for number in range(rnd.choice((1, 1, 2))):
        holder, key, name = rnd.choice(places)
        kind, make = rnd.choice(list(BLOBS.items()))
        blobs[f"@@{number}@@"] = make(
            min(size, bytes_max) // 2, rnd, holder[key] if not callable(holder) else None
        )
        if isinstance(holder, dict) and rnd.random() < 0.3:
            key = rnd.choice(("x", "reasoning", "annotations", f"@@{number}@@"))
        holder[key] = f"@@{number}@@"
        about.append(f"{name}: {kind}")
    body = json.dumps(request).encode()
    for mark, blob in blobs.items():
        # As a name only a string will do.
        body = body.replace(f'"{mark}": '.encode(), (blob if blob[:1] == b'"' else b'"x"') + b": ")
        body = body.replace(f'"{mark}"'.encode(), blob)
    return Attack(path, body[:bytes_max], ", ".join(about) + f", {len(body)} bytes")


def _places(value: Any, name: str = "") -> Any:
    """Every member of every object and list: its holder, its key and its path."""
    members = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in list(members):
        yield value, key, f"{name}.{key}"
        yield from _places(inner, f"{name}.{key}")


def _struct(kind: Any, rnd: random.Random, *, share: float) -> dict[str, Any]:
    """An object with what its struct requires, and with that share of what it may have."""
    value: dict[str, Any] = {} if kind.tag_field is None else {kind.tag_field: kind.tag}
    for field in kind.fields:
        if field.required or rnd.random() < share or field.encode_name in ("model", "max_tokens"):
            named = _NAMED.get(field.encode_name)
            value[field.encode_name] = (
                json.loads(json.dumps(rnd.choice(named)))
                if named
                else _value(field.type, rnd, share=share / 2)
            )
    return value


def _value(kind: Any, rnd: random.Random, *, share: float) -> Any:
    match kind:
        case inspect.UnionType():
            options = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
            return _value(rnd.choice(options), rnd, share=share)
        case inspect.StructType():
            return _struct(kind, rnd, share=share)
        case inspect.ListType():
            return [_value(kind.item_type, rnd, share=share) for _ in range(rnd.randint(1, 2))]
        case inspect.DictType():
            return {"1": _value(kind.value_type, rnd, share=share)}
        case inspect.LiteralType():
            return rnd.choice(kind.values)
        case inspect.Metadata():
            return _value(kind.type, rnd, share=share)
        case inspect.IntType() | inspect.FloatType():
            return kind.ge if kind.ge is not None and kind.ge > 0 else 1
        case inspect.BoolType():
            return rnd.random() < 0.5
        case inspect.StrType():
            return "a"
        case _:
            return rnd.choice((_PARAMETERS, {"a": 1}, ["a"]))


def _of_texts(*texts: str) -> Callable[[int, random.Random, Any], bytes]:
    def make(size: int, rnd: random.Random, old: Any) -> bytes:
        text = rnd.choice(texts)
        return b'"' + (text * (size // len(text.encode()) + 1)).encode() + b'"'

    return make


def _of_items(*items: str) -> Callable[[int, random.Random, Any], bytes]:
    def make(size: int, rnd: random.Random, old: Any) -> bytes:
        item = rnd.choice(items)
        return ("[" + ",".join([item] * max(1, size // (len(item) + 1))) + "]").encode()

    return make


def _again(size: int, rnd: random.Random, old: Any) -> bytes:
    """What was there, again and again."""
    item = json.dumps(old[0] if isinstance(old, list) and old else old).encode()
    if b"@@" in item:  # the other large place is in it
        item = b"{}"
    return b"[" + b",".join([item] * max(1, min(size, 20_000_000) // (len(item) + 1))) + b"]"


def _deep(size: int, rnd: random.Random, old: Any) -> bytes:
    depth = min(size, rnd.choice((50, 400, 900, 5_000)))
    opening, closing = rnd.choice(
        (
            (b"[", b"]"),
            (b'{"a":', b"}"),
            (b'{"type":"array","items":', b"}"),
            (b'{"anyOf":[', b"]}"),
        )
    )
    return opening * depth + b"1" + closing * depth


def _members(size: int, rnd: random.Random, old: Any) -> bytes:
    value = rnd.choice(
        ("1", '"a"', "null", "[]", '{"type":"string"}', '{"type":"object","properties":{}}')
    )
    text = (
        "{"
        + ",".join(f'"{number}":{value}' for number in range(max(1, size // (len(value) + 9))))
        + "}"
    )
    return (
        text.encode()
        if rnd.random() < 0.5
        else b'{"type":"object","properties":' + text.encode() + b"}"
    )


def _one_number(size: int, rnd: random.Random, old: Any) -> bytes:
    return rnd.choice((b"", b"0.", b"-1e")) + b"1" * size


BLOBS: Final[dict[str, Callable[[int, random.Random, Any], bytes]]] = {
    "text": _of_texts(
        "a", "hello world, ", "é", "😀", "中文", " ", "\\n", "\\u0041",
        "\\ud83d\\ude00", '\\"', "\\\\", "1",
    ),
    "marks": _of_texts("[", "{", "<|im_start|>", "<tool_call>\\n[[", "</think>", "{{", "{%", "}",
    "<", "(a?)", "a,", "[]{}:,"),
    "items": _of_items("1", "0", "2047", "null", '""', '"a"', "true", "[]", "{}", "[[[[]]]]",
    '{"":0}', "[1]", "0.5", '"ab cd"'),
    "objects": _of_items(
        '{"role":"user","content":"a"}',
        '{"role":"system","content":"a"}',
        '{"role":"assistant","tool_calls":[{}]}',
        '{"type":"text","text":""}',
        '{"type":"text","text":"a b"}',
        '{"type":"function","function":{"name":"f"}}',
        '{"function":{}}',
        '{"type":"input_text","text":"a"}',
        '{"type":"reasoning","summary":[]}',
        '{"type":"function_call","call_id":"","name":"","arguments":""}',
        '{"type":"string"}',
    ),
    "again": _again,
    "deep": _deep,
    "members": _members,
    "number": _one_number,
    "white space": lambda size, rnd, old: b" " * size + json.dumps(old).encode(),
}  # fmt: skip
"""Name → what makes about `size` bytes of JSON, given what they replace."""
