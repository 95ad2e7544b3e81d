"""Run as a program: read every recorded output with SGLang's parsers, cut in many ways, and print
what went wrong.

    python read_recordings.py > {"tool_calls": {name: [checks, failure or null]}, "thinking": {…}}

A program, since pytest's process must not import torch. No engine: SGLang's chat serving and
parsers, and a tokenizer.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from workers.sglang.cpu import activate_if_cpu_host

activate_if_cpu_host()

import sglang.srt.entrypoints.openai.serving_chat as serving_chat  # noqa: E402
import sglang.srt.runtime_context as sglang_context  # noqa: E402
import yaml  # noqa: E402
from hypothesis import Phase, given, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from jsonschema import Draft202012Validator  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from protocol.generation import Content, Finished, Generate, Part, Reading, Reasoning, Sampling  # noqa: E402  # noqa: E402
from protocol.tokens import pack_tokens  # noqa: E402
from workers.demo_model import demo_model_dir  # noqa: E402
from workers.sglang.arguments import parse_server_args  # noqa: E402
from workers.sglang.reading import Readings  # noqa: E402
from workers.sglang.reading import plan as reading_plan  # noqa: E402
from workers.sglang.reading.lost import LAG_CHARS_MAX  # noqa: E402
from workers.sglang.seam.answers_table import READING  # noqa: E402
from workers.sglang.seam.checks import check_seam  # noqa: E402

RECORDED = Path(__file__).parent / "recorded"
EXAMPLES = 6
BEFORE = "I will look it up."
CALLS = [
    ("get_weather", {"city": "Zürich", "days": 3}),
    ("search", {"query": 'say "hi" to 東京 🎉', "filters": {"tags": ["a", "b c"], "open": True}}),
]
THINKING, ANSWER = 'Two words: 東京 & "Zürich".\nThen <b> more.', "The answer is 42."

_STRING = {"type": "string"}
_FILTERS = {
    "type": "object",
    "properties": {"tags": {"type": "array", "items": _STRING}, "open": {"type": "boolean"}},
}
TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": properties}},
    }
    for name, properties in (
        ("get_weather", {"city": _STRING, "days": {"type": "integer"}}),
        ("search", {"query": _STRING, "filters": _FILTERS}),
    )
]
_CALL = {
    "type": "function",
    "function": {"name": "{content.name}", "arguments": "{content.arguments}"},
}
TEMPLATE = {
    "start_anchor": "<assistant>",
    "defaults": {"role": "assistant"},
    "fields": {
        "thinking": {"open": "<reasoning>", "close": "</reasoning>", "content": "text"},
        "content": {"content": "text"},
        "tool_calls": {
            "open": "<call>",
            "close": "</call>",
            "repeats": True,
            "content": "json",
            "transform": _CALL,
        },
    },
}
"""A response template as a model's tokenizer_config.json may have it, for the parsers of that
name.
"""


class _CheckedOnce:
    """What SGLang has each request's tools checked by: of the few that are here, each once."""

    @staticmethod
    def check_schema(schema: Any) -> None:
        _check(json.dumps(schema))


@cache
def _check(schema: str) -> None:
    Draft202012Validator.check_schema(json.loads(schema))


serving_chat.Draft202012Validator = _CheckedOnce
# what is found of the one tokenizer is the same for every pair of parsers
serving_chat.detect_inline_system_support = cache(serving_chat.detect_inline_system_support)
reading_plan.TokenTexts = cache(reading_plan.TokenTexts)


Message = tuple[str, str, list[tuple[str, str, Any]]]
"""Thinking, content, and id, name and arguments of each call."""


class World:
    """SGLang's chat serving without an engine, for one pair of parsers."""

    def __init__(
        self,
        tokenizer: Any,
        server_args: Any,
        *,
        tool_calls: str | None = None,
        thinking: str | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        tokenizer.response_template = (
            TEMPLATE if "response_template" in (tool_calls, thinking) else None
        )
        parsers = {"tool_call_parser": tool_calls, "reasoning_parser": thinking}
        model_type = "gpt_oss" if "gpt-oss" in (tool_calls, thinking) else "qwen3"
        config = SimpleNamespace(model_type=model_type, architectures=["Qwen3ForCausalLM"])
        manager = SimpleNamespace(
            tokenizer=tokenizer,
            server_args=server_args,
            served_model_name="m",
            model_path=server_args.model_path,
            config_value=lambda name: parsers.get(name, getattr(server_args, name, None)),
            model_config=SimpleNamespace(
                get_default_sampling_params=dict, hf_config=config, is_multimodal=False
            ),
        )
        templates = SimpleNamespace(
            force_reasoning=False,
            reasoning_config=None,
            chat_template_name=None,
            python_chat_template=None,
        )
        self._readings = Readings(manager, templates)
        self._prompt = self.tokens("<assistant><|start|>assistant")

    def tokens(self, text: str) -> list[int]:
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        assert self.tokenizer.decode(ids) == text
        return ids

    def reader(
        self,
        chat: dict[str, Any],
        *,
        whole: bool = False,
        replayed: Sequence[int] = (),
        request_id: str = "a" * 32,
    ) -> Any:
        reading = Reading(
            json.dumps({"model": "m", **chat}).encode(),
            whole=whole,
            replayed_tokens=len(replayed),
            first_request_id="a" * 32,
        )
        prompt = pack_tokens([*self._prompt, *replayed])
        plan = self._readings.plan(
            Generate(request_id, "m", prompt, Sampling(100), 4_000_000_000_000, reading=reading)
        )
        for _ in plan.replay():
            pass
        return plan.reader

    def read(
        self, text: str, chat: dict[str, Any], cuts: Sequence[int] = (), *, reason: str = "stop"
    ) -> Message:
        """The message of `text`, handed over in chunks as its parser would get them."""
        message = self.reader(chat)._message
        parts = [part for chunk in _cut(text, cuts) for part in message.feed(chunk)]
        return folded(parts + message.end("", Finished(reason, 0, 0)))

    def read_tokens(
        self, text: str, chat: dict[str, Any], *, whole: bool, reason: str = "stop"
    ) -> Message:
        """The message of the tokens of `text`, one by one."""
        reader, ids = self.reader(chat, whole=whole), self.tokens(text)
        parts = [part for token_id in ids for part in reader.feed([token_id])]
        return folded(parts + reader.end([], Finished(reason, 0, len(ids))))


def folded(parts: Sequence[Part]) -> Message:
    """All parts of an answer together.

    The first piece of a call has its id and name, and no other has.
    """
    thinking, content, calls = "", "", {}
    for part in parts:
        if isinstance(part, Content):
            content += part.text
        elif isinstance(part, Reasoning):
            thinking += part.text
        else:
            assert bool(part.name) == bool(part.call_id) == (part.index not in calls), part
            assert part.index <= len(calls), part
            calls.setdefault(part.index, [part.call_id, part.name, ""])[2] += part.arguments
    return (
        thinking,
        content,
        [(call_id, name, _json(arguments)) for call_id, name, arguments in calls.values()],
    )


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _cut(text: Any, cuts: Sequence[int]) -> Iterator[Any]:
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(text)}), len(text)]
    return (text[start:end] for start, end in pairwise(edges))


def _trimmed(message: Message) -> Message:
    """White space around texts is no difference: parsers of whole texts cut it off once they see a
    call.
    """
    return message[0].strip(), message[1].strip(), message[2]


def _named(message: Message) -> list[tuple[str, Any]]:
    return [(name, arguments) for _, name, arguments in message[2]]


def any_cuts(text: Sequence[Any]) -> st.SearchStrategy[list[int]]:
    """Few cuts, many, or one at every place."""
    place = st.integers(1, max(1, len(text) - 1))
    return st.one_of(
        st.lists(place, max_size=3),
        st.lists(place, min_size=20, max_size=60),
        st.just(list(range(len(text)))),
    )


def check_chunks(world: World, text: str, chat: dict[str, Any]) -> None:
    """However a stream is cut, the message is that of the text at once."""
    whole = world.read(text, chat)

    @_examples
    @given(any_cuts(text))
    def streams_are_whole(cuts: list[int]) -> None:
        assert _trimmed(world.read(text, chat, cuts)) == _trimmed(whole), cuts

    streams_are_whole()


def check_tokens(world: World, text: str, chat: dict[str, Any]) -> None:
    """However tokens are batched, the parts say the same; and whoever goes on elsewhere goes on
    with the same.
    """
    ids = world.tokens(text)
    finished = Finished("stop", 0, len(ids))
    whole = folded(world.reader(chat).end(ids, finished))
    assert whole == folded(world.reader(chat, whole=True).end(ids, finished))

    @_examples
    @given(any_cuts(ids), st.integers(0, len(ids)))
    def batches_and_moves_change_nothing(cuts: list[int], moved_at: int) -> None:
        reader = world.reader(chat)
        parts = [part for batch in _cut(ids, cuts) for part in reader.feed(batch)]
        assert folded(parts + reader.end([], finished)) == whole, cuts

        first = world.reader(chat).feed(ids[:moved_at])
        second = world.reader(chat, replayed=ids[:moved_at], request_id="b" * 32).end(
            ids[moved_at:], finished
        )
        assert folded([*first, *second]) == whole, moved_at
        unread = world.reader(chat, whole=True, replayed=ids[:moved_at], request_id="b" * 32).end(
            ids[moved_at:], finished
        )
        assert folded(unread) == whole, moved_at

    batches_and_moves_change_nothing()


def check_cut_off(world: World, text: str, chat: dict[str, Any]) -> None:
    """A text that ends early: its calls are those that would have come, nothing of it is lost, and
    who does not stream gets the same.
    """
    full = world.read(text, chat)

    @_examples
    @given(st.integers(0, len(text) - 1), any_cuts(text))
    def beginnings_are_beginnings(length: int, cuts: list[int]) -> None:
        beginning = text[:length]
        shown = world.read(beginning, chat, cuts, reason="length")
        complete = max(0, len(shown[2]) - 1)
        assert shown[2][:complete] == full[2][:complete], length
        assert [name for _, name, _ in shown[2]] == [name for _, name, _ in full[2]][
            : len(shown[2])
        ], length
        assert _missing(beginning[: max(0, length - LAG_CHARS_MAX)], shown) == [], length

    beginnings_are_beginnings()
    for share in (0.4, 0.8):
        beginning = text[: int(len(text) * share)]
        streamed, whole = (
            world.read_tokens(beginning, chat, whole=whole, reason="length")
            for whole in (False, True)
        )
        assert streamed == whole, share


def check_spoilt(world: World, text: str, chat: dict[str, Any]) -> None:
    """What a model should not have written is not lost, and who does not stream gets the same."""
    spoilt = {
        "an unknown tool": text.replace("get_weather", "nope_tool"),
        "text behind": f"{text}\nAnd that is all.",
        "malformed arguments": text.replace("3", "").replace("days", 'da"ys'),
    }
    for how, answer in spoilt.items():
        shown = world.read(answer, chat, list(range(0, len(answer), 3)))
        assert _missing(answer, shown) == [], (how, shown)
        streamed, whole = (world.read_tokens(answer, chat, whole=whole) for whole in (False, True))
        assert streamed == whole, how


LOSING = frozenset({"apertus2509", "cohere_command4", "lfm2", "deepseekv31"})
"""Formats whose calls are the items of one list, of which SGLang's parsers leave out what they
cannot read; and one whose parser writes the next call into the arguments, over and over.
"""


def check_spoilt_first(world: World, name: str, text: str, chat: dict[str, Any]) -> None:
    """A call that cannot be read is not lost when a good one follows, and who does not stream gets
    the same.
    """
    spoilt = {
        "malformed": text.replace("3", "", 1).replace("days", 'da"ys', 1),
        "cut off": text.replace('rich", "days": ', "").replace("rich', days", ""),
        "without a name": text.replace("get_weather", "", 1),
    }
    for how, answer in spoilt.items():
        shown = world.read(answer, chat, list(range(0, len(answer), 3)))
        streamed, whole = (world.read_tokens(answer, chat, whole=whole) for whole in (False, True))
        assert streamed == whole, how
        if name not in LOSING:
            assert _missing(answer, shown) == [], (how, shown)


_WORDS = (BEFORE, "get_weather", "nope_tool", "search", "Zürich", "say", "東京", "And that is all.")


def _missing(text: str, message: Message) -> list[str]:
    """Words that the text has and the message has not."""
    calls = [
        name
        + (arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False))
        for _, name, arguments in message[2]
    ]
    shown = [message[1], *calls, *(call + message[1].removeprefix(BEFORE) for call in calls)]
    return [word for word in _WORDS if word in text and not any(word in each for each in shown)]


def _examples(check: Callable[..., None]) -> Callable[..., None]:
    return seed(5)(
        settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate])(
            check
        )
    )


def check_calls(world: World, recorded: dict[str, Any], name: str) -> int:
    chat = {"tools": TOOLS}
    before = recorded.get("content", BEFORE)
    texts = [
        (recorded["one call"], CALLS[:1]),
        (recorded["two calls"], recorded.get("calls", CALLS)),
    ]
    for text, calls in texts:
        whole = world.read(text, chat)
        wanted = [(name, arguments) for name, arguments in calls]
        assert (whole[1].strip(), _named(whole)) == (before, wanted), whole
        check_chunks(world, text, chat)
        check_tokens(world, text, chat)
    check_cut_off(world, recorded["two calls"], chat)
    check_spoilt(world, recorded["one call"], chat)
    check_spoilt_first(world, name, recorded["two calls"], chat)
    return len(texts)


def check_thinking(world: World, recorded: dict[str, Any], _: str) -> int:
    text, chat = recorded["text"], recorded.get("chat", {})
    whole = world.read(text, chat)
    assert (whole[0], whole[1].strip()) == (
        recorded.get("thinking", THINKING),
        recorded.get("answer", ANSWER),
    ), whole
    check_chunks(world, text, chat)
    check_tokens(world, text, chat)
    return 1


def main() -> None:
    logging.disable(logging.CRITICAL)  # SGLang warns of what is cut off
    check_seam(READING)
    server_args = parse_server_args(
        ["--model-path", str(demo_model_dir())], cpu=True, kv_events=False
    )
    sglang_context.publish(server_args, role="tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(demo_model_dir())
    results: dict[str, dict[str, tuple[int, str | None]]] = {"tool_calls": {}, "thinking": {}}
    for kind, check in (("tool_calls", check_calls), ("thinking", check_thinking)):
        for file in sorted((RECORDED / kind).glob("*.yaml")):
            recorded = yaml.safe_load(file.read_text())
            for name in recorded["parsers"]:
                try:
                    results[kind][name] = (
                        check(World(tokenizer, server_args, **{kind: name}), recorded, name),
                        None,
                    )
                except Exception as error:  # noqa: BLE001 - a check's failure is its result
                    results[kind][name] = 0, f"{type(error).__name__}: {error}"[:1500]
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
