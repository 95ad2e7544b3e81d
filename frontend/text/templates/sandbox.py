"""Makes the Jinja environment in which a model's chat template runs.

It is Hugging Face's (transformers 5, `utils/chat_template_utils.py`): an immutable sandbox with
trimmed blocks, loop controls, the `generation` block, `tojson` without HTML escapes,
`raise_exception` and `strftime_now`. A template comes with the model and is run for strangers'
messages, so on top of that whatever can ask for much work is bounded by a budget of each rendering
(template_budget).
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, cast

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from frontend.text.templates.bounded_calls import (
    bounded_filters,
    bounded_tests,
    check_method,
    check_widths,
)
from frontend.text.templates.budget import (
    CHARS_PER_WEIGHT,
    POINTER_BYTES,
    BudgetedCode,
    BudgetedContext,
)

RENDERED_CHARS_MAX: Final = 48 * 1024 * 1024
"""Bounds the prompt text: the largest HTTP body taken is 45 MB; a template adds a few words a
message.
"""

POWER_BITS_MAX: Final = 4_096
"""Bounds the size of a number that `**` may make.

Without a bound `9**9999999` keeps the event loop for seconds, even at compile time.
"""

STRFTIME_CHARS_MAX: Final = 1_000
"""Bounds a format for the date; each of its letters may stand for a word."""

_REPEATABLE: Final = (str, list, tuple)
_DICT_ATTRIBUTES: Final = frozenset(dir(dict))
_LOOP_NUMBERS: Final = frozenset(
    ("index", "index0", "revindex", "revindex0", "first", "last", "length")
)


class TemplateRefusal(TemplateError):
    """A TemplateRefusal is a template's `raise_exception`: its message is meant for the caller."""


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """A ChatEnvironment runs chat templates in a sandbox within a budget; `chat_environment` makes
    it.
    """

    intercepted_binops = frozenset({"*", "**", "%"})
    context_class = BudgetedContext
    code_generator_class = BudgetedCode

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Returns `message.role` of a plain dict without the exception that trying an attribute
        first costs (0.5 µs each), and `loop.first` without asking whether it is a method that
        changes something (3 µs).
        """
        if type(obj) is dict and attribute not in _DICT_ATTRIBUTES:
            try:
                return cast("dict[str, Any]", obj)[attribute]
            except KeyError:
                return cast("Any", self.undefined(obj=obj, name=attribute))
        if isinstance(obj, LoopContext) and attribute in _LOOP_NUMBERS:
            return getattr(obj, attribute)
        return cast("Any", super().getattr(obj, attribute))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Runs the operators that can make something huge of something small, if the budget
        allows.
        """
        budget = cast("BudgetedContext", context).budget
        if operator == "**":
            _check_power(left, right)
        elif operator == "*":
            budget.make(_repeated_bytes(left, right))
        elif isinstance(left, str):
            check_widths(left)
            budget.make(len(left) + left.count("%") * CHARS_PER_WEIGHT * budget.weigh(right))
        return super().call_binop(context, operator, left, right)

    def call(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        context: Context,
        obj: Any,
        *args: Any,
        _loop_vars: Any = None,
        _block_vars: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Calls a function or a method, if the rendering's budget allows for what it may do.

        Jinja hands over the names that a loop or a block has set, for functions that take the
        context; there are none of these.
        """
        # the template's own, whose turns are counted: Jinja's ways to it cost 2 µs a call
        if type(obj) is Macro:
            return obj(context.eval_ctx, *args, **kwargs)
        if args or kwargs:
            args = check_method(cast("BudgetedContext", context), obj, args, kwargs)
        return super().call(context, obj, *args, **kwargs)


class GenerationBlock(Extension):
    """A GenerationBlock reads `{% generation %}…{% endgeneration %}`, which marks the assistant's
    own text for training; serving renders what it holds.
    """

    tags = {"generation"}  # noqa: RUF012 - declared so upstream

    def parse(self, parser: Parser) -> nodes.Node:
        """Returns a call block, as upstream has it, so that names set inside stay inside."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller: Callable[[], str]) -> str:
        return caller()


def chat_environment(now: Callable[[], datetime]) -> ChatEnvironment:
    """Returns an environment for the templates of one model; `now` gives the local time that
    `strftime_now` formats.
    """
    environment = ChatEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.filters = bounded_filters(cast("dict[str, Any]", environment.filters))
    environment.tests = bounded_tests(cast("dict[str, Any]", environment.tests))
    names = cast("dict[str, Any]", environment.globals)
    names["raise_exception"] = _raise_exception
    names["strftime_now"] = _strftime(now)
    del names["lipsum"]  # text for trying layouts, as much as one likes
    return environment


def _strftime(now: Callable[[], datetime]) -> Callable[[str], str]:
    def strftime_now(format: str) -> str:  # noqa: A002 - templates may name it
        if len(format) > STRFTIME_CHARS_MAX:
            raise SecurityError("the format of a date is too long")
        return now().strftime(format)

    return strftime_now


def _to_json(
    x: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise TemplateRefusal(message)


def _check_power(base: Any, exponent: Any) -> None:
    if (
        isinstance(base, int)
        and isinstance(exponent, int)
        and base.bit_length() * exponent > POWER_BITS_MAX
    ):
        raise SecurityError("the result of ** is too large")


def _repeated_bytes(left: Any, right: Any) -> int:
    if (
        isinstance(left, int)
        and isinstance(right, int)
        and left.bit_length() + right.bit_length() > POWER_BITS_MAX
    ):
        raise SecurityError("the result of * is too large")
    for some, times in ((left, right), (right, left)):
        if isinstance(times, int) and isinstance(some, _REPEATABLE):
            return (
                len(cast("str", some))
                * max(0, times)
                * (1 if isinstance(some, str) else POINTER_BYTES)
            )
    return 0
