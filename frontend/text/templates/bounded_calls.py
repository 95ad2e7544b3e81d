"""Bounds the filters, tests and methods that a template may call, by asking the rendering's budget
before for what they can make or walk.
"""

import re
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Final, cast

from jinja2 import pass_context
from jinja2.exceptions import SecurityError
from jinja2.utils import _PassArg  # pyright: ignore[reportPrivateUsage] - how Jinja itself asks what a filter wants before its value

from frontend.text.templates.budget import CHARS_PER_WEIGHT, BudgetedContext

FORMAT_WIDTH_MAX: Final = 10_000
"""Bounds a field width in a format; `"%1000000000d" % 1` would be a gigabyte."""

NUMBER_MAX: Final = 100_000
"""Bounds a width, a count or a length: as many turns as Jinja's sandbox lets range() take."""

SLOW_CHARS_MAX: Final = 64 * 1024
"""Bounds the text for filters that go through it in Python or with expressions that may look
twice.
"""

_FREE: Final = frozenset(
    (
        "trim",
        "length",
        "count",
        "default",
        "d",
        "lower",
        "upper",
        "capitalize",
        "first",
        "last",
        "int",
        "float",
        "abs",
        "round",
        "safe",
    )
)
"""Names filters that do no more than their value is long, which has been paid for."""

_SLOW: Final = frozenset(
    (
        "urlize",
        "wordwrap",
        "pprint",
        "striptags",
        "xmlattr",
        "urlencode",
        "title",
        "wordcount",
        "forceescape",
        "escape",
        "e",
        "truncate",
    )
)

_GROWING: Final = frozenset(
    (
        "center",
        "ljust",
        "rjust",
        "zfill",
        "expandtabs",
        "replace",
        "join",
        "format",
        "format_map",
        "split",
        "rsplit",
    )
)
_FORBIDDEN: Final = frozenset(("translate", "maketrans"))
"""Names methods that are refused: a table makes anything of each character."""

_ASKED: Final = _GROWING | _FORBIDDEN


def bounded_filters(filters: dict[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Returns the filters, each of which asks the budget first, but for those that cost nothing."""
    return {
        name: function if name in _FREE else _bounded(name, function)
        for name, function in filters.items()
    }


def bounded_tests(tests: dict[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Returns the tests; those with an operand ask the budget first, since both sides may be
    walked.
    """
    comparing = {
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "eq",
        "equalto",
        "ne",
        "lt",
        "lessthan",
        "le",
        "gt",
        "greaterthan",
        "ge",
        "in",
    }
    return {
        name: _bounded(name, function) if name in comparing else function
        for name, function in tests.items()
    }


def check_method(
    context: BudgetedContext, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, ...]:
    """Asks the budget for a call of a function or method, and returns the arguments to call it
    with.

    Raises:
        TemplateTooCostly: it may take too much.
        SecurityError: it may never be called.
    """
    _weigh(context, (*args, *kwargs.values()) if kwargs else args)
    name = getattr(method, "__name__", "")
    if name not in _ASKED:
        return args
    # Jinja wraps str.format
    owner = getattr(getattr(method, "__wrapped__", method), "__self__", None)
    if not isinstance(owner, str):
        return args
    if name in _FORBIDDEN:
        raise SecurityError(f"{name} is not available to chat templates")
    if name == "join" and args:
        args = (_counted(context, args[0]), *args[1:])
    _ask_to_grow(context, name, owner, args, kwargs)
    return args


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    passed = _PassArg.from_obj(function)
    special = name in _SLOW or name in (
        "sum",
        "list",
        "join",
        "replace",
        "center",
        "format",
        "indent",
    )

    @pass_context
    @wraps(function)
    def asking(context: BudgetedContext, value: Any, *args: Any, **kwargs: Any) -> Any:
        context.compared(value)
        if args or kwargs:
            _weigh(context, (*args, *kwargs.values()))
        if special:
            value = _asked_for(context, name, value, args, kwargs)
        if passed is None:
            return function(value, *args, **kwargs)
        before = {
            _PassArg.context: context,
            _PassArg.eval_context: context.eval_ctx,
            _PassArg.environment: context.environment,
        }
        return function(before[passed], value, *args, **kwargs)

    return asking


def _asked_for(
    context: BudgetedContext, name: str, value: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Returns the value for a filter that makes more of it, or takes long."""
    if name in _SLOW:
        if len(context.text_of(value)) > SLOW_CHARS_MAX:
            raise SecurityError(f"the text for the filter {name} is too long")
    elif name == "sum":
        if not isinstance(kwargs.get("start", args[1] if len(args) > 1 else 0), int | float):
            raise SecurityError("the filter sum adds numbers")
    elif name in ("list", "join"):
        value = _counted(context, value)
        if name == "join":
            _ask_to_grow(
                context, name, str(args[0]) if args else str(kwargs.get("d", "")), (value,), {}
            )
    else:
        _ask_to_grow(context, name, context.text_of(value), args, kwargs)
    return value


def _weigh(context: BudgetedContext, operands: Iterable[Any]) -> None:
    for operand in operands:
        if type(operand) is int:
            if abs(operand) > NUMBER_MAX:
                raise SecurityError(
                    "a number that a chat template asks something with is too large"
                )
        else:
            context.compared(operand)


def _counted(context: BudgetedContext, values: Any) -> Any:
    """Returns the values, or what an iterator gives, taken turn by turn: nobody knows how much that
    is.
    """
    if isinstance(values, list | tuple | dict | set | str | bytes):
        return cast("Any", values)
    found: list[Any] = []
    for value in values:
        context.budget.turn()
        found.append(value)
    context.budget.weigh(found)
    return found


def check_widths(text: str) -> None:
    """Refuses a format string with a width that is large or comes from elsewhere."""
    if any(int(width) > FORMAT_WIDTH_MAX for width in re.findall(r"\d{5,}", text)) or re.search(
        r"%[^a-zA-Z%]*\*|\{[^{}]*\{", text
    ):
        raise SecurityError("the width of a format is too large")


def _ask_to_grow(
    context: BudgetedContext, name: str, text: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    operands = [*args, *kwargs.values()]
    numbers = [operand for operand in operands if isinstance(operand, int)]
    texts = [operand for operand in operands if isinstance(operand, str)]
    longest = max([len(operand) for operand in texts], default=0)
    size = len(text)
    if name == "join":
        values: Any = operands[0] if operands else ()
        size = size * len(values) + (
            len(values)
            if isinstance(values, str)
            else sum([len(context.text_of(value)) for value in values])
        )
    elif name == "replace":
        old, new = (texts[0], texts[1]) if len(texts) > 1 else ("", "")
        size += text.count(old) * len(new)
    elif name in ("format", "format_map"):
        size += _format_size(context, text, operands)
    elif name in ("split", "rsplit"):
        size = CHARS_PER_WEIGHT * (
            text.count(texts[0]) if texts and texts[0] else len(text.split())
        )
    elif name == "indent":
        size += (text.count("\n") + 1) * (longest or max(numbers, default=4))
    elif name == "expandtabs":
        size += text.count("\t") * max(numbers, default=8)
    else:
        size += max(numbers, default=0)
    context.budget.make(size)


def _format_size(context: BudgetedContext, text: str, operands: list[Any]) -> int:
    """Returns the size of what str.format and the filter make: fields times the longest value.

    Widths are bounded by their digits.
    """
    check_widths(text)
    longest = max(
        [CHARS_PER_WEIGHT * context.budget.weigh(operand) for operand in operands], default=0
    )
    return (text.count("{") + text.count("%")) * longest
