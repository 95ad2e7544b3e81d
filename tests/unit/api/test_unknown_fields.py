"""Every field that a client may send is honoured, ignored by name, or refused by name; what nobody
knows is ignored or refused.
"""

import json
from contextlib import suppress
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionStreamOptionsParam
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming as ChatParams,
)
from openai.types.completion_create_params import (
    CompletionCreateParamsNonStreaming as CompletionParams,
)

from frontend.api.anthropic.schemas import MessagesRequest
from frontend.api.fields.parsing import BodyParser
from frontend.api.fields.refusals import (
    HARMLESS,
    REFUSED_FIELDS,
    refuse_unsupported_chat,
    refuse_unsupported_completion,
)
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest, StreamOptions
from frontend.http.ignored import NAMES_MAX, REFUSING, Ignored, IgnoredLog
from protocol.errors import InvalidJson, InvalidRequest, UnsupportedParameter

CHAT, COMPLETION = BodyParser(ChatCompletionRequest), BodyParser(CompletionRequest)
LEAST: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def taking() -> Ignored:
    return Ignored("ignore")


def nested(name: str, value: Any) -> dict[str, Any]:
    """The object that has `value` at a dotted name."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def body(**fields: Any) -> bytes:
    return json.dumps(LEAST | fields).encode()


def fields_of(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize(
    ("params", "kind"), [(ChatParams, ChatCompletionRequest), (CompletionParams, CompletionRequest)]
)
def test_every_parameter_of_openais_client_is_known(
    params: Any, kind: type[msgspec.Struct]
) -> None:
    assert set(get_type_hints(params)) - fields_of(kind) - set(REFUSED_FIELDS) == set()
    assert set(get_type_hints(ChatCompletionStreamOptionsParam)) <= fields_of(StreamOptions)


def test_nothing_is_both_honoured_and_refused() -> None:
    assert not set(REFUSED_FIELDS) & (
        fields_of(ChatCompletionRequest) | fields_of(CompletionRequest)
    )


@pytest.mark.parametrize("name", sorted(REFUSED_FIELDS))
def test_what_is_refused_says_why_whatever_is_ignored_and_null_asks_for_nothing(name: str) -> None:
    for ignored in (REFUSING,) if name in HARMLESS else (REFUSING, taking()):
        with pytest.raises(UnsupportedParameter) as raised:
            CHAT.parse(body(**nested(name, {"a": 1})), ignored=ignored)
        assert raised.value.param == name
        assert REFUSED_FIELDS[name] in raised.value.message
    assert CHAT.parse(body(**nested(name, None))) == CHAT.parse(
        body(**({"nvext": {}} if "." in name else {}))
    )


@pytest.mark.parametrize("name", sorted(HARMLESS & set(REFUSED_FIELDS)))
def test_what_is_harmless_is_named(name: str) -> None:
    ignored = taking()
    assert CHAT.parse(body(**{name: {"a": 1}}), ignored=ignored) == CHAT.parse(body())
    assert ignored.names == (name,)


@pytest.mark.parametrize(
    "fields",
    [
        {
            "use_beam_search": False,
            "early_stopping": False,
            "length_penalty": 1.0,
            "return_hidden_states": False,
        },
        {
            "functions": [],
            "function_call": "none",
            "bad_words": [],
            "documents": [],
            "kv_transfer_params": {},
        },
    ],
)
def test_a_value_that_asks_for_nothing_is_taken_everywhere(fields: dict[str, Any]) -> None:
    assert CHAT.parse(body(**fields)) == CHAT.parse(body())


@pytest.mark.parametrize(
    ("fields", "param", "hint"),
    [
        ({"temprature": 1}, "temprature", "'temperature'"),
        (
            {"stream": True, "stream_options": {"include_usages": True}},
            "stream_options.include_usages",
            "'include_usage'",
        ),
        (
            {"nvext": {"router": {"prefil_weight": 1}}},
            "nvext.router.prefil_weight",
            "'prefill_weight'",
        ),
        ({"nvext": {"sesion_id": "x"}}, "nvext.sesion_id", "'session_id'"),
        ({"qqq": None}, "qqq", None),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_name(
    fields: dict[str, Any], param: str, hint: str | None
) -> None:
    with pytest.raises(UnsupportedParameter) as raised:
        CHAT.parse(body(**fields))
    assert raised.value.param == param
    assert ("Did you mean" in raised.value.message) == (hint is not None)
    assert hint is None or hint in raised.value.message


def test_unknown_fields_are_ignored_at_every_depth_and_named() -> None:
    ignored = taking()
    parsed = CHAT.parse(
        body(
            a=1,
            b={"c": []},
            stream=True,
            stream_options={"x": 1, "include_usage": True},
            nvext={"router": {"y": 2}, "z": None},
        ),
        ignored=ignored,
    )
    assert parsed == CHAT.parse(
        body(stream=True, stream_options={"include_usage": True}, nvext={"router": {}})
    )
    assert ignored.header == (
        b"x-kvmesh-ignored",
        b"a, b, stream_options.x, nvext.router.y, nvext.z",
    )


def test_unknown_fields_are_found_in_lists_and_tagged_objects() -> None:
    ignored = taking()
    messages = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "hi", "cache_control": {}}],
            "weight": 1,
        }
    ] * 2
    raw = {
        "model": "m",
        "max_tokens": 1,
        "messages": messages,
        "tools": [{"name": "t", "input_schema": {"x": 1}, "icon": "i"}] * 300,
    }
    parsed = BodyParser(MessagesRequest).parse(json.dumps(raw).encode(), ignored=ignored)
    assert len(parsed.tools or ()) == 300
    assert ignored.names == ("messages.weight", "tools.icon")
    schema = {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"b": 1, "a": 2.5}, "made_up": 1},
        "other": 2,
    }
    parsed_format: Any = CHAT.parse(body(response_format=schema), ignored=ignored).response_format
    assert bytes(parsed_format.json_schema.schema) == b'{"b":1,"a":2.5}'


@pytest.mark.parametrize(
    "name",
    [
        "x` - at `$.stop",
        "x` - at `$.a.b",
        "x` - at `$[...]",
        "x` - at `$.messages[7]",
        "a.b",
        "`",
        "",
        "é,\n",
    ],
)
def test_a_name_that_looks_like_a_path_is_like_any_other(name: str) -> None:
    with pytest.raises(UnsupportedParameter):
        CHAT.parse(body(**{name: 1}))
    ignored = taking()
    assert CHAT.parse(body(**{name: 1}), ignored=ignored) == CHAT.parse(body())
    assert ignored.header[1].isascii()
    assert b"\n" not in ignored.header[1]
    assert b"," not in ignored.header[1]


def test_any_number_is_ignored_and_so_many_are_named() -> None:
    ignored = taking()
    assert CHAT.parse(
        body(**{f"{'x' * 500}{number}": 1 for number in range(2_000)}), ignored=ignored
    ) == CHAT.parse(body())
    assert CHAT.parse(
        body(**{f"{number}": 1 for number in range(2_000)}), ignored=ignored
    ) == CHAT.parse(body())
    assert len(ignored.names) == NAMES_MAX
    assert len(ignored.header[1]) < 4_096


def test_each_name_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    log = IgnoredLog()
    with caplog.at_level("INFO"):
        for _ in range(3):
            ignored = taking()
            ignored.add("made_up", "it is unknown")
            log.note(ignored, "/v1/chat/completions")
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        "/v1/chat/completions: made_up is ignored"
    ]


def test_what_is_wrong_beside_an_unknown_field_is_still_told() -> None:
    with pytest.raises(InvalidRequest) as raised:
        CHAT.parse(body(aaa=1, temperature="hot"), ignored=taking())
    assert raised.value.param == "temperature"


@pytest.mark.parametrize(
    "value", [b"1" * 400, b"-" + b"9" * 30, b"1e308", b"0.1", b"18446744073709551616"]
)
def test_numbers_of_any_size_beside_an_unknown_field(value: bytes) -> None:
    raw = (
        b'{"model":"m","messages":[{"role":"user","content":"hi","n":'
        + value
        + b'}],"x":'
        + value
        + b"}"
    )
    with suppress(InvalidRequest):
        assert CHAT.parse(raw, ignored=taking()).model == "m"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
names = st.sampled_from(
    [*sorted(fields_of(ChatCompletionRequest)), *sorted(REFUSED_FIELDS)]
) | st.text(max_size=8)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(names, json_values, max_size=6), st.sampled_from([REFUSING, None]))
def test_any_object_is_a_request_or_the_clients_error(
    fields: dict[str, Any], ignored: Ignored | None
) -> None:
    for parser in (CHAT, COMPLETION):
        with suppress(InvalidRequest):
            assert parser.parse(
                json.dumps(LEAST | fields).encode(), ignored=ignored or taking()
            ).model


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"nul", b'{"model": "\xff"}', b'{"zzz":' * 100_000, b'{"zzz": 1, "model"']
)
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest) as raised:
        CHAT.parse(raw, ignored=taking())
    assert isinstance(raised.value, InvalidJson) or raw == b"[]"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"top_logprobs": 2, "logprobs": False}, "top_logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"verbosity": "high"}, "verbosity"),
        ({"prompt_cache_retention": "24h"}, "prompt_cache_retention"),
        ({"stream_options": {}}, "stream_options"),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
        ),
        ({"cache_salt": "a" * 200, "extra_key": "b" * 200}, "extra_key"),
    ],
)
def test_values_that_cannot_be_honoured_are_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        refuse_unsupported_chat(CHAT.parse(body(**fields)))
    assert raised.value.param == param


@pytest.mark.parametrize(
    "fields",
    [
        {
            "user": "u",
            "metadata": {"a": "b"},
            "store": True,
            "service_tier": "flex",
            "safety_identifier": "s",
            "prompt_cache_key": "k",
        },
        {
            "verbosity": "medium",
            "modalities": ["text"],
            "prompt_cache_retention": "in-memory",
            "logprobs": True,
            "top_logprobs": 0,
        },
        {
            "stream": True,
            "stream_options": {
                "include_usage": True,
                "continuous_usage_stats": True,
                "include_obfuscation": False,
            },
        },
    ],
)
def test_what_openai_takes_is_taken(fields: dict[str, Any]) -> None:
    refuse_unsupported_chat(CHAT.parse(body(**fields)))


def test_wishes_without_which_an_answer_is_as_good_are_named() -> None:
    ignored = taking()
    refuse_unsupported_chat(
        CHAT.parse(body(verbosity="low", prompt_cache_retention="24h")), ignored
    )
    assert ignored.names == ("verbosity", "prompt_cache_retention")


def test_best_of_and_suffix_are_refused_in_words() -> None:
    for fields, param in (({"best_of": 3}, "best_of"), ({"suffix": "x"}, "suffix")):
        with pytest.raises(UnsupportedParameter) as raised:
            refuse_unsupported_completion(
                COMPLETION.parse(json.dumps({"model": "m", "prompt": "x"} | fields).encode())
            )
        assert raised.value.param == param
    refuse_unsupported_completion(COMPLETION.parse(b'{"model":"m","prompt":"x","n":2,"best_of":2}'))
