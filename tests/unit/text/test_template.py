"""ChatTemplate against transformers' apply_chat_template, on templates in the shapes of the large
model families and some others.
"""
# ruff: noqa: E501 - templates are written as models ship them

import copy
from contextlib import suppress
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import Tokenizer as HfTokenizer
from tokenizers import models

from frontend.text.templates.messages import normalize_messages
from frontend.text.templates.sandbox import RENDERED_CHARS_MAX
from frontend.text.templates.template import ERROR_CHARS_MAX, ChatTemplate
from protocol.errors import InvalidRequest
from tests.unit.text.template_shapes import SHAPES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

TEMPLATES: dict[str, str] = SHAPES | {
    # What no family's template has, or few.
    "documents_and_macros": """{%- macro show(document, number) -%}
<doc {{ number }}>{{ document.title|upper }}: {{ document['text']|default('nothing', true) }}</doc>
{%- endmacro -%}
{%- macro json_type(t) -%}{%- if t is string -%}{{ t }}{%- elif t is iterable and t is not string -%}{{ t|join(' or ') }}{%- endif -%}{%- endmacro -%}
{{ bos_token }}
{%- if documents %}{% for document in documents %}
{{ show(document, loop.index) }}
{% endfor %}{% endif %}
{%- if tools %}{% for tool in tools %}
def {{ tool.function.name }}({% for name, kind in tool.function.parameters.properties.items() %}{{ name }}: {{ json_type(kind.type) }}{{ ", " if not loop.last }}{% endfor %})
{% endfor %}{% endif %}
{%- for message in messages %}
{{ loop.cycle('A', 'B') }}|{{ message.role|title }}|{{ message.content|replace('\\n', ' / ') }}
{%- endfor %}""",
    "generation_block": """{%- for message in messages %}{%- if message.role == 'assistant' %}<a>{% generation %}{{ message.content }}
{% endgeneration %}</a>{%- else %}<u>{{ message.content }}</u>{%- endif %}{%- endfor %}{% if add_generation_prompt %}<a>{% endif %}""",
    "loop_controls": """{% for message in messages %}
    {% if message.role == 'system' %}{% continue %}{% endif %}
    {% if 'STOP' in message.content %}{% break %}{% endif %}
    {{ loop.index }}. {{ message.content }}
{% endfor %}
{{ messages|map(attribute='role')|join(',') }} {{ messages|selectattr('role', 'equalto', 'user')|list|length }}""",
    "openai_form_loop": """{%- for message in messages %}{{- '[' + message.role + ']' }}
{%- if message.content is string %}{{- message.content }}{%- else %}{%- for part in message['content'] %}{{- part.type + ':' + part.text }};{%- endfor %}{%- endif %}
{%- endfor %}{% if tools %}{{ tools|tojson(separators=(',', ':'), sort_keys=True) }}{% endif %}""",
}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Météo <b>&</b> \"quotes\" 'single'",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "unit": {"type": ["string", "null"]}},
            },
        },
    }
]
CALL = {
    "id": "call12345",
    "type": "function",
    "function": {
        "name": "get_weather",
        "arguments": {"city": "Zürich 🎉", "n": [1, 2.5, None, True]},
    },
}
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "one": [{"role": "user", "content": 'Hello <b>&amp;</b> "you" {{ 7*7 }} {% raw %}'}],
    "system": [
        {"role": "system", "content": " Be brief. \n"},
        {"role": "user", "content": "Why?\n\nTell me."},
    ],
    "turns": [
        {"role": "user", "content": "Привет 中文 🎉"},
        {"role": "assistant", "content": "<think>\nhmm\n</think>\n\nHi there. "},
        {"role": "user", "content": "STOP and  think  \t"},
        {"role": "assistant", "content": "<think>a</think>Done"},
        {"role": "user", "content": ""},
    ],
    "tool": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call12345", "content": '{"temp": 21, "unit": "°C"}'},
        {"role": "assistant", "content": "21 °C"},
        {"role": "user", "content": "Thanks"},
    ],
    "two_calls": [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Looking",
            "tool_calls": [CALL, {**CALL, "id": "call67890"}],
        },
        {"role": "tool", "tool_call_id": "call12345", "content": "21"},
        {"role": "tool", "tool_call_id": "call67890", "content": "22"},
    ],
    "bad_order": [
        {"role": "assistant", "content": "I speak first"},
        {"role": "assistant", "content": "and again"},
    ],
    "reasoning": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "reasoning_content": "because"},
        {"role": "user", "content": "r"},
    ],
}
SETTINGS: dict[str, dict[str, Any]] = {
    "prompt": {"add_generation_prompt": True},
    "no_prompt": {"add_generation_prompt": False},
    "tools": {"add_generation_prompt": True, "tools": TOOLS},
    "documents": {
        "add_generation_prompt": True,
        "documents": [{"title": "A", "text": "alpha"}, {"title": "B", "text": ""}],
    },
    "names": {
        "add_generation_prompt": True,
        "enable_thinking": False,
        "date_string": "1 Jan 2000",
        "bos_token": "<other>",
    },
    "open": {"add_generation_prompt": False, "continue_final_message": True},
}


@pytest.fixture(scope="module")
def reference() -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415  # not at collection

    return PreTrainedTokenizerFast(tokenizer_object=HfTokenizer(models.BPE()), **SPECIAL)


@cache
def compiled(template: str) -> ChatTemplate:
    return ChatTemplate(TEMPLATES[template], SPECIAL)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_text_is_that_of_transformers(
    reference: "PreTrainedTokenizerFast", template: str, conversation: str, settings: str
) -> None:
    source, messages, options = TEMPLATES[template], CONVERSATIONS[conversation], SETTINGS[settings]
    before = copy.deepcopy(messages)
    ours = compiled(template)
    try:
        told = copy.deepcopy(list(normalize_messages(messages, ours.content_form, ours.habits)))
        wanted = reference.apply_chat_template(
            told, chat_template=source, tokenize=False, **options
        )
    except Exception:  # noqa: BLE001 - whatever upstream raises, ours must be the client's error
        with pytest.raises(InvalidRequest):
            ours.render(messages, **options)
    else:
        rendered = ours.render(messages, **options)
        if options.get("continue_final_message") and not messages[-1]["content"]:
            # transformers strips what stands before an empty message; with a template that trims,
            # that is the end of the header.
            assert wanted in (rendered, rendered.rstrip())
        else:
            assert rendered == wanted
    assert messages == before


def test_most_of_the_corpus_renders(reference: "PreTrainedTokenizerFast") -> None:
    """The comparison above would be hollow if upstream refused nearly everything."""
    rendered = 0
    for source in TEMPLATES.values():
        for messages in CONVERSATIONS.values():
            with suppress(Exception):
                rendered += bool(
                    reference.apply_chat_template(messages, chat_template=source, tokenize=False)
                )
    assert rendered > 0.8 * len(TEMPLATES) * len(CONVERSATIONS)


def test_raise_exception_speaks_to_the_client() -> None:
    with pytest.raises(InvalidRequest) as refused:
        ChatTemplate(TEMPLATES["mistral"], SPECIAL).render(CONVERSATIONS["bad_order"])
    assert (
        refused.value.message
        == "conversation roles must alternate user/assistant/user/assistant/..."
    )


def test_arguments_written_as_json_render_as_the_object() -> None:
    written = copy.deepcopy(CONVERSATIONS["tool"])
    written[1]["tool_calls"][0]["function"]["arguments"] = (
        '{"city": "Zürich 🎉", "n": [1, 2.5, null, true]}'
    )
    written[1]["content"] = None
    template = ChatTemplate(TEMPLATES["qwen3"], SPECIAL)
    assert template.render(written) == template.render(CONVERSATIONS["tool"])


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ("chatml", "string"),
        ("phi3", "string"),
        ("gemma3", "openai"),
        ("openai_form_loop", "openai"),
        ("loop_controls", "string"),
    ],
)
def test_the_form_of_content_is_read_off_the_template(template: str, form: str) -> None:
    assert ChatTemplate(TEMPLATES[template], {}).content_form == form


def test_text_parts_are_joined_for_templates_that_want_a_string() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "input_text", "text": "two"}, "three"]
    template = ChatTemplate(TEMPLATES["chatml"], {})
    flat = template.render([{"role": "user", "content": "one two three"}])
    assert template.render([{"role": "user", "content": parts}]) == flat


def test_parts_stay_parts_for_templates_that_loop_over_them() -> None:
    parts = [
        {"type": "text", "text": "one"},
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "text", "text": "two"},
    ]
    text = ChatTemplate(TEMPLATES["gemma3"], SPECIAL).render([{"role": "user", "content": parts}])
    assert (
        text
        == "<s><start_of_turn>user\none<start_of_image>two<end_of_turn>\n<start_of_turn>model\n"
    )


@pytest.mark.parametrize(
    ("template", "part"),
    [("chatml", {"type": "image_url"}), ("gemma3", {"type": "file"}), ("gemma3", 3)],
)
def test_parts_that_a_template_cannot_take_are_refused(template: str, part: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ChatTemplate(TEMPLATES[template], SPECIAL).render([{"role": "user", "content": [part]}])
    assert refused.value.param == "messages.0.content"


def test_a_template_for_bare_functions_gets_them_in_a_second_try() -> None:
    source = (
        "{% for tool in tools %}{{ '<' + tool.name + '>' }}{% endfor %}{{ messages[0].content }}"
    )
    assert (
        ChatTemplate(source, {}).render([{"role": "user", "content": "x"}], tools=TOOLS)
        == "<get_weather>x"
    )


def test_the_date_is_the_given_clocks() -> None:
    template = ChatTemplate("{{ strftime_now('%Y-%m-%d') }}", {}, now=lambda: datetime(2031, 2, 3))  # noqa: DTZ001
    assert template.render([{"role": "user", "content": ""}]) == "2031-02-03"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ messages[0].__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ namespace.__init__.__globals__['__builtins__']['open']('/etc/passwd') }}",
        "{{ (messages|attr('__class__')).__mro__ }}",
        "{{ '{0.__class__.__mro__}'.format(messages) ~ raise_exception.__globals__ }}",
        "{{ '{0.__class__.__init__.__globals__}'.format(cycler) ~ x.y }}",
        "{{ strftime_now.__closure__[0].cell_contents }}",
        "{{ strftime_now.__code__.co_code }}",
        "{% set _ = messages.append(1) %}",
        "{% set _ = messages[0].update({'role': 'x'}) %}",
        "{% set _ = messages[0].pop('role') %}",
        "{% set _ = messages[0].__setitem__('role', 'x') %}",
        "{% set f = ''|attr('format_map') %}{{ f({'a': 1}).__class__.__mro__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os.getcwd() }}",
    ],
)
def test_the_sandbox_refuses_known_ways_out(source: str) -> None:
    messages = [{"role": "user", "content": "x"}]
    with pytest.raises(InvalidRequest) as refused:
        ChatTemplate(source, SPECIAL).render(messages)
    assert messages == [{"role": "user", "content": "x"}]
    assert "root:" not in refused.value.message


@pytest.mark.parametrize(
    "source",
    [
        "{{ 9 ** 9999999 }}",
        "{{ 'a' * 99999999 }}",
        "{{ 99999999 * [1] }}",
        "{{ '%99999999d' % 1 }}",
        "{{ '%*d' % (99999999, 1) }}",
        "{% for i in range(99999999) %}x{% endfor %}",
        "{% for i in range(60) %}{{ messages[0].content * 1000000 }}{% endfor %}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    ],
)
def test_work_without_bound_is_refused(source: str) -> None:
    # with the messages, or when the template is loaded
    with pytest.raises((InvalidRequest, ValueError)):
        ChatTemplate(source, SPECIAL).render([{"role": "user", "content": "x"}])
    assert RENDERED_CHARS_MAX < 60_000_000


@pytest.mark.parametrize(
    "source",
    [
        "{{ nothing.at_all }}",
        "{{ messages + 1 }}",
        "{{ 1 / 0 }}",
        "{{ nothing | tojson }}",
        "{{ messages[0].content.split('') }}",
        "{{ raise_exception(raise_exception ~ 'x' * 9000) }}",
    ],
)
def test_a_failing_template_names_no_address_and_is_brief(source: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ChatTemplate(source, SPECIAL).render([{"role": "user", "content": "x"}])
    assert "0x7" not in refused.value.message
    assert "/" not in refused.value.message.replace("unsupported operand type(s)", "")
    assert len(refused.value.message) < ERROR_CHARS_MAX + 100
    assert refused.value.param == "messages"


@pytest.mark.parametrize(
    "options",
    [
        {"messages": []},
        {"messages": [{"role": "user", "content": "x"}], "continue_final_message": True},
    ],
)
def test_contradictory_requests_are_refused(options: dict[str, Any]) -> None:
    messages = options.pop("messages")
    with pytest.raises(InvalidRequest):
        ChatTemplate(TEMPLATES["chatml"], {}).render(messages, **options)


def test_a_source_that_is_no_template_is_named_by_line() -> None:
    with pytest.raises(ValueError, match="line 2"):
        ChatTemplate("fine\n{% if %}", {})
