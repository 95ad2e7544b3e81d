"""Turns chat messages into prompt text, by the model's own Jinja template, with the meaning
`transformers.apply_chat_template` gives it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from itertools import islice
from typing import Any, Final, cast

from jinja2 import TemplateError, TemplateSyntaxError, nodes

from frontend.text.templates.budget import Budget, BudgetedContext, TemplateTooCostly
from frontend.text.templates.habits import habits_of
from frontend.text.templates.messages import ContentForm, normalize_messages
from frontend.text.templates.sandbox import (
    RENDERED_CHARS_MAX,
    ChatEnvironment,
    TemplateRefusal,
    chat_environment,
)
from protocol.errors import InvalidRequest

ERROR_CHARS_MAX: Final = 500
"""Bounds a template's error text; a template may quote a whole conversation in it."""

_PARTS_AT_ONCE: Final = 64
"""Counts the pieces of a rendering whose length is looked at together: they are references to texts
that are there.
"""

_CONTINUE_TAG: Final = "CONTINUE_FINAL_MESSAGE_TAG "
_MESSAGE_NAMES: Final = ("message", "msg", "m")
_MEDIA_WORDS: Final = ("image", "audio", "video", "vision")
_TEMPLATE_FAULTS: Final = (
    TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)


def _local_now() -> datetime:
    return datetime.now()  # noqa: DTZ005 - templates say today's date as the host sees it, as upstream does


class ChatTemplate:
    """A ChatTemplate renders chat messages as prompt text, by one compiled Jinja template.

    Rendering takes no lock and keeps no state.

    Args:
        source: the Jinja text.
        special_tokens: bos_token, eos_token … as templates name them; a request's own values go
        before them.
        now: local time, for `strftime_now`.
    Raises:
        ValueError: the source is no template, and the message names the line; or it takes too much
        for a few words.

    Attributes:
        content_form: "openai" if the template loops over the parts of a message's content, else
        "string".
        habits: what it does with the messages that it is given.
    """

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str],
        *,
        now: Callable[[], datetime] = _local_now,
    ) -> None:
        environment = chat_environment(now)
        try:
            self.content_form: ContentForm = _content_form(environment, source)
            self._template = environment.from_string(source)
        except TemplateSyntaxError as error:
            raise ValueError(
                f"the chat template does not compile: line {error.lineno}: {error.message}"
            ) from None
        except (SyntaxError, RecursionError, TemplateError) as error:
            raise ValueError(
                f"the chat template does not compile: {type(error).__name__}"
            ) from None
        self._names: dict[str, Any] = {**self._template.globals, **special_tokens}
        """Maps what every rendering knows: the environment's functions and the special tokens."""
        self._source = source
        self.habits = habits_of(self._try)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        /,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **template_kwargs: Any,
    ) -> str:
        """Returns the prompt text of chat messages.

        Args:
            messages: OpenAI's messages as JSON holds them; none of them is changed.
            tools: OpenAI's tools. A template that cannot take them gets the bare functions in a
            second try, as SGLang does.
            documents: for templates with retrieval.
            add_generation_prompt: end with the header of the assistant's turn.
            continue_final_message: leave the last message open for the model to continue; excludes
            add_generation_prompt.
            template_kwargs: further names for the template (`enable_thinking` …); they go before
            special tokens. A caller that passes on a client's names must take out those of the
            parameters above.
        Raises:
            InvalidRequest: the template refuses the messages, fails on them or makes too much of
            them.
        Cost: 18 µs for one message, 115 µs for twenty in the manner of ChatML on a busy machine,
        where `Template.render` of a plain
        sandbox took 38 and 268.
        """
        if not messages:
            raise InvalidRequest("messages must not be empty", param="messages")
        if continue_final_message and add_generation_prompt:
            raise InvalidRequest(
                "continue_final_message and add_generation_prompt exclude each other",
                param="continue_final_message",
            )
        chat = normalize_messages(messages, self.content_form, self.habits)
        names: dict[str, Any] = {
            **self._names,
            **template_kwargs,
            "documents": documents,
            "add_generation_prompt": add_generation_prompt,
            "messages": chat,
            "tools": tools,
        }
        render = self._render_open if continue_final_message else self._render_names
        try:
            if not tools:
                return _clear_errors(render, names)
            try:
                return render(names)
            except _TEMPLATE_FAULTS:
                functions = [tool.get("function", tool) for tool in tools]
                return _clear_errors(render, names | {"tools": functions})
        except TemplateTooCostly as error:
            raise InvalidRequest(
                f"the model's chat template needs too much {error} for these messages",
                param="messages",
            ) from None

    def _try(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None
    ) -> str | None:
        """Returns the text of messages that are as the template wants them; None if it does not
        take them.

        Raises:
            ValueError: it takes too much for a few words.
        """
        names = {
            "messages": messages,
            "tools": tools,
            "documents": None,
            "add_generation_prompt": True,
        }
        try:
            return self._render_names(self._names | names)
        except TemplateTooCostly as error:
            raise ValueError(f"it takes too much {error} for a few words") from None
        except (InvalidRequest, *_TEMPLATE_FAULTS):
            return None

    def _render_names(self, names: dict[str, Any]) -> str:
        template = self._template
        # `Template.render` merges the globals anew each time, through a ChainMap: 60 µs, more than
        # a short chat takes otherwise.
        context = BudgetedContext(template.environment, names, template.name, template.blocks)
        context.budget = Budget()
        coming = template.root_render_func(context)
        parts: list[str] = []
        chars = 0
        while some := list(islice(coming, _PARTS_AT_ONCE)):
            chars += sum(map(len, some))
            if chars > RENDERED_CHARS_MAX:
                raise InvalidRequest(
                    f"the rendered prompt is longer than {RENDERED_CHARS_MAX} characters",
                    param="messages",
                )
            parts += some
        return "".join(parts)

    def _render_open(self, names: dict[str, Any]) -> str:
        """Marks the end of the final message, renders, and cuts there."""
        chat = cast(
            "list[dict[str, Any]]", [*names["messages"][:-1], deepcopy(names["messages"][-1])]
        )
        final_text = _tag_final_text(chat[-1])
        if "content" not in self._source:
            raise InvalidRequest(
                "this model's chat template cannot continue a message",
                param="continue_final_message",
            )
        rendered = self._render_names(names | {"messages": chat})
        tag = _CONTINUE_TAG.strip()
        if final_text.strip() not in rendered or tag not in rendered:
            message = (
                "the chat template drops part of the final message, so that it cannot be continued"
            )
            raise InvalidRequest(message, param="continue_final_message")
        cut = rendered.rindex(tag)
        if rendered.startswith(_CONTINUE_TAG, cut):
            return rendered[:cut]
        # The template trimmed the message, and would have trimmed its own trailing space too; an
        # empty one has none, and what stands before it is the header's.
        return rendered[:cut].rstrip() if final_text.strip() else rendered[:cut]


def _tag_final_text(message: dict[str, Any]) -> str:
    """Appends the tag to the last text of a message of ours; returns the text before it."""
    content = message.get("content")
    if isinstance(content, str):
        message["content"] = content + _CONTINUE_TAG
        return content
    for part in reversed(cast("list[dict[str, Any]]", content or [])):
        if "text" in part:
            text = str(part["text"])
            part["text"] = text + _CONTINUE_TAG
            return text
    raise InvalidRequest(
        "the final message has no text to continue", param="continue_final_message"
    )


def _clear_errors(render: Callable[[dict[str, Any]], str], names: dict[str, Any]) -> str:
    try:
        return render(names)
    except TemplateRefusal as refusal:
        raise InvalidRequest(_presentable(str(refusal)), param="messages") from None
    except RecursionError:
        raise InvalidRequest(
            "the model's chat template recurses too deeply on these messages", param="messages"
        ) from None
    except MemoryError:
        raise InvalidRequest(
            "the model's chat template needs too much memory for these messages", param="messages"
        ) from None
    except _TEMPLATE_FAULTS as error:
        raise InvalidRequest(
            f"the model's chat template cannot render these messages: {_presentable(str(error))}",
            param="messages",
        ) from None


def _presentable(text: str) -> str:
    """Returns error text without memory addresses, of bounded length."""
    return re.sub(r"0x[0-9a-fA-F]{4,}", "0x…", text)[:ERROR_CHARS_MAX]


def _content_form(environment: ChatEnvironment, source: str) -> ContentForm:
    """Tells whether the template takes content as a list of parts ("openai") or as text ("string").

    SGLang's rule (srt/parser/jinja_template_utils.py): it does if it speaks of media, or loops over
    `content` of `message`, `msg` or `m`.
    """
    tree = environment.parse(source)
    if any(word in source for word in _MEDIA_WORDS):
        return "openai"
    return (
        "openai"
        if any(_is_message_content(loop.iter) for loop in tree.find_all(nodes.For))
        else "string"
    )


def _is_message_content(node: nodes.Node | None) -> bool:
    while isinstance(node, (nodes.Filter, nodes.Test)) or (
        isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice)
    ):
        node = node.node
    if isinstance(node, nodes.Getitem):
        is_content = isinstance(node.arg, nodes.Const) and node.arg.value == "content"
    else:
        is_content = isinstance(node, nodes.Getattr) and node.attr == "content"
    return (
        is_content
        and isinstance(node, (nodes.Getitem, nodes.Getattr))
        and isinstance(node.node, nodes.Name)
        and node.node.name in _MESSAGE_NAMES
    )
