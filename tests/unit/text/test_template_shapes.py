"""Conversations as others send them, through templates in the shapes of the large families: all of
it is printed, or refused.
"""

from functools import cache
from typing import Any

import pytest

from frontend.text.templates.template import ChatTemplate
from protocol.errors import InvalidRequest
from tests.unit.text.template_shapes import SHAPES
from workers.demo_model import Demo, demo_model_dir

DEMOS: dict[str, Demo] = {"demo": "text", "demo that sees": "vision"}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
NAMES = [*SHAPES, *DEMOS]
USER = {"role": "user", "content": "Ask."}
ANSWER = {"role": "assistant", "content": "Told."}


def call(arguments: Any = '{"place": "Bern"}', **message: Any) -> list[dict[str, Any]]:
    function = {"name": "look"} | ({} if arguments is ... else {"arguments": arguments})
    calls = [{"id": "call00001", "type": "function", "function": function}]
    said = {"role": "assistant", "content": None, **message, "tool_calls": calls}
    return [USER, said, {"role": "tool", "tool_call_id": "call00001", "content": "Sunny."}]


def system(text: str, role: str = "system") -> dict[str, str]:
    return {"role": role, "content": text}


CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "system": ([system("First."), USER], ["First."]),
    "developer": ([system("First.", "developer"), USER], ["First."]),
    "two_systems": ([system("First."), system("Second."), USER], ["First.", "Second."]),
    "two_developers": (
        [system("First.", "developer"), system("Second.", "developer"), USER],
        ["First.", "Second."],
    ),
    "system_and_developer": (
        [system("First."), system("Second.", "developer"), USER],
        ["First.", "Second."],
    ),
    "system_last": ([system("First."), USER, system("Second.")], ["First.", "Second."]),
    "system_between": (
        [system("First."), USER, ANSWER, system("Second."), USER],
        ["First.", "Second.", "Told."],
    ),
    "system_late_alone": ([USER, ANSWER, system("Second."), USER], ["Second.", "Told."]),
    "developer_between": (
        [system("First."), USER, ANSWER, system("Second.", "developer"), USER],
        ["First.", "Second."],
    ),
    "call": (call(), ["look", "Bern", "Sunny."]),
}
REFUSALS = {  # of the templates themselves, or of ours where they would leave a message out
    "gemma2": set(CONVERSATIONS),
    "user_only": set(CONVERSATIONS),
    "chatml": {"call"},
    "phi3": {"call"},
    "gemma3": {"call"},
}


@cache
def template(name: str) -> ChatTemplate:
    source = (
        (demo_model_dir(DEMOS[name]) / "chat_template.jinja").read_text()
        if name in DEMOS
        else SHAPES[name]
    )
    return ChatTemplate(source, SPECIAL)


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_is_printed_once_or_refused(name: str, conversation: str) -> None:
    messages, words = CONVERSATIONS[conversation]
    if name == "mistral" and conversation == "call":
        # this family prints instructions only where the user speaks last
        messages = [system("First."), *messages]
    if conversation in REFUSALS.get(name, ()):
        with pytest.raises(InvalidRequest):
            template(name).render(messages)
        return
    text = template(name).render(messages)
    assert [text.count(word) for word in words] == [1] * len(words)


@pytest.mark.parametrize(
    "name", ["qwen3", "qwen3_5", "llama3", "mistral", "gemma3", "chatml", "deepseek_v3", "phi3"]
)
def test_a_developer_is_told_as_the_system_where_the_template_knows_none(name: str) -> None:
    assert template(name).render([system("Say so.", "developer"), USER]) == template(name).render(
        [system("Say so."), USER]
    )


@pytest.mark.parametrize("name", ["gpt_oss", "demo"])
def test_a_developer_stays_one_where_the_template_knows_it(name: str) -> None:
    assert template(name).habits.instructions.developer


@pytest.mark.parametrize("name", ["qwen3_5", "mistral", "gemma3", "gpt_oss"])
def test_instructions_are_merged_where_only_the_first_is_taken(name: str) -> None:
    merged = template(name).render([system("One.\n\nTwo."), USER])
    assert template(name).render([system("One."), system("Two."), USER]) == merged
    assert template(name).render([system("One."), USER, system("Two.")]) == merged


@pytest.mark.parametrize("name", ["qwen3", "llama3", "chatml", "demo"])
def test_instructions_stay_where_they_are_if_the_template_takes_them(name: str) -> None:
    text = template(name).render([system("One."), USER, ANSWER, system("Two."), USER])
    assert text.index("Told.") < text.index("Two.")


BAD_ARGUMENTS: list[Any] = [
    "{",
    '{"place": ',
    "[1]",
    "3",
    "null",
    '"x"',
    "",
    " \n",
    "\ud800",
    "[" * 100_000,
    None,
    7,
    [],
    ...,
]


@pytest.mark.parametrize("arguments", BAD_ARGUMENTS, ids=lambda arguments: repr(arguments)[:12])
@pytest.mark.parametrize(
    "name", ["qwen3", "qwen3_5", "llama3", "mistral", "deepseek_v3", "gpt_oss", "demo"]
)
def test_arguments_that_are_no_object_are_an_empty_one(name: str, arguments: Any) -> None:
    assert template(name).render(call(arguments)) == template(name).render(call("{}"))


@pytest.mark.parametrize("name", ["qwen3", "llama3", "deepseek_v3"])
def test_arguments_that_python_wrote_keep_their_numbers(name: str) -> None:
    assert "NaN" in template(name).render(call('{"place": NaN}'))


def test_arguments_may_come_as_an_object_and_go_as_text() -> None:
    for name in ("qwen3", "deepseek_v3"):
        assert template(name).render(call({"place": "Zürich"})) == template(name).render(
            call('{"place": "Zürich"}')
        )


def test_no_calls_are_none() -> None:
    messages: list[dict[str, Any]] = [USER, {**ANSWER, "tool_calls": []}, USER]
    for name in NAMES:
        assert template(name).render(messages) == template(name).render([USER, ANSWER, USER])


def test_what_a_template_would_leave_out_is_refused_with_its_place() -> None:
    for name in ("chatml", "phi3", "gemma2", "gemma3"):
        with pytest.raises(InvalidRequest) as refused:
            template(name).render(call())
        assert refused.value.param == "messages.1.tool_calls"
    with pytest.raises(InvalidRequest) as refused:
        template("user_only").render([USER, ANSWER, system("Be brief.", "developer"), USER])
    assert refused.value.param == "messages.2.role"


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5", "gpt_oss", "demo", "llama3", "mistral"])
def test_the_thinking_before_a_call_is_printed_or_it_is_a_call_without_text(name: str) -> None:
    text = template(name).render(call(reasoning_content="Because."))
    # these print nothing beside a call
    assert ("Because." in text) is (name not in ("llama3", "mistral"))


@pytest.mark.parametrize("name", ["llama3", "mistral", "gemma3", "gemma2", "chatml", "phi3"])
def test_thinking_is_text_where_the_template_has_no_place_for_it(name: str) -> None:
    text = template(name).render([USER, {**ANSWER, "reasoning_content": "Because."}, USER])
    assert "<think>\nBecause.\n</think>\n\nTold." in text


def test_thinking_is_left_out_where_the_model_wants_its_past_without() -> None:
    messages = [USER, {**ANSWER, "reasoning_content": "Because."}, USER]
    for name in ("qwen3", "deepseek_v3"):
        assert template(name).render(messages) == template(name).render([USER, ANSWER, USER])


@pytest.mark.parametrize(
    "name", ["qwen3", "llama3", "gemma3", "gemma2", "mistral", "chatml", "phi3"]
)
def test_an_empty_answer_is_continued_behind_its_whole_header(name: str) -> None:
    options: dict[str, Any] = {"add_generation_prompt": False, "continue_final_message": True}
    empty = template(name).render([USER, {"role": "assistant", "content": ""}], **options)
    begun = template(name).render([USER, {"role": "assistant", "content": "Begun"}], **options)
    assert empty + "Begun" == begun
