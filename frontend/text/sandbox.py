"""The Jinja environment in which a model's chat template runs.

It is Hugging Face's (transformers 5, `utils/chat_template_utils.py`): an immutable sandbox with trimmed blocks, loop controls, the
`generation` block, `tojson` without HTML escapes, `raise_exception` and `strftime_now`. A template comes with the model and is run
for strangers' messages, so on top of that the operators that can ask for unbounded work are bounded.
"""

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, cast

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

RENDERED_CHARS_MAX: Final = 48 * 1024 * 1024
"""Prompt text. The largest HTTP body taken is 45 MB; a template adds a few words a message."""

POWER_BITS_MAX: Final = 4_096
"""Size of a number that `**` may make. Without a bound `9**9999999` keeps the event loop for seconds, even at compile time."""

FORMAT_WIDTH_MAX: Final = 10_000
"""Field width in a `%` format; `"%1000000000d" % 1` would be a gigabyte."""

_REPEATABLE: Final = (str, list, tuple)
_DICT_ATTRIBUTES: Final = frozenset(dir(dict))


class TemplateRefusal(TemplateError):
    """`raise_exception` of a template: its message is meant for the caller."""


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Made by `chat_environment`."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`message.role` on a plain dict, without the exception that trying an attribute first costs (0.5 µs each)."""
        if type(obj) is dict and attribute not in _DICT_ATTRIBUTES:
            try:
                return cast("dict[str, Any]", obj)[attribute]
            except KeyError:
                return cast("Any", self.undefined(obj=obj, name=attribute))
        return cast("Any", super().getattr(obj, attribute))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """The operators that can make something huge of something small."""
        if operator == "**":
            _check_power(left, right)
        elif operator == "*":
            _check_repeat(left, right)
        elif isinstance(left, str):
            _check_format(left)
        return super().call_binop(context, operator, left, right)


class GenerationBlock(Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's own text for training; serving renders what it holds."""

    tags = {"generation"}  # noqa: RUF012 - declared so upstream

    def parse(self, parser: Parser) -> nodes.Node:
        """A call block, as upstream has it, so that names set inside stay inside."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller: Callable[[], str]) -> str:
        return caller()


def chat_environment(now: Callable[[], datetime]) -> ChatEnvironment:
    """An environment for the templates of one model; `now` gives the local time that `strftime_now` formats."""
    environment = ChatEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, loopcontrols])
    environment.filters["tojson"] = _to_json
    names = cast("dict[str, Any]", environment.globals)
    names["raise_exception"] = _raise_exception
    names["strftime_now"] = _strftime(now)
    return environment


def _strftime(now: Callable[[], datetime]) -> Callable[[str], str]:
    def strftime_now(format: str) -> str:  # noqa: A002 - templates may name it
        return now().strftime(format)

    return strftime_now


def _to_json(
    x: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateRefusal(message)


def _check_power(base: Any, exponent: Any) -> None:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > POWER_BITS_MAX:
        raise SecurityError("the result of ** is too large")


def _check_repeat(left: Any, right: Any) -> None:
    for text, times in ((left, right), (right, left)):
        if isinstance(text, _REPEATABLE) and isinstance(times, int) and len(cast("str", text)) * times > RENDERED_CHARS_MAX:
            raise SecurityError("the result of * is too large")


def _check_format(text: str) -> None:
    if any(int(width) > FORMAT_WIDTH_MAX for width in re.findall(r"\d{5,}", text)) or re.search(r"%[^a-zA-Z%]*\*", text):
        raise SecurityError("the width of a % format is too large")
