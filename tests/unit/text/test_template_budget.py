"""Templates that would hang the frontend or eat its memory are stopped, whatever they do it with;
each of these did, or would.
"""

from typing import Any

import pytest

from frontend.text.templates import budget as template_budget
from frontend.text.templates.template import ChatTemplate
from protocol.errors import InvalidRequest

DOUBLED = (
    "{% set ns = namespace(x='aaaaaaaaaa') %}{% for i in range(40) %}{% set ns.x = WHAT %}{% "
    "endfor %}"
)
SHARED = (
    "{% set ns = namespace(x=[1, 1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% "
    "endfor %}"
)

HOSTILE = {
    "nested loops": (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    ),
    "a loop that takes nothing": (
        "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}"
    ),
    "a block in a loop": (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% block b scoped %}{% endblock "
        "%}{% endfor %}{% endfor %}"
    ),
    "a macro that branches": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}"
    ),
    "a macro without an end": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a loop that recurs": "{% for x in [1, 1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    "concatenation": DOUBLED.replace("WHAT", "ns.x ~ ns.x"),
    "addition": DOUBLED.replace("WHAT", "ns.x + ns.x"),
    "addition of lists": DOUBLED.replace("'aaaaaaaaaa'", "[1]").replace("WHAT", "ns.x + ns.x"),
    "replacement": DOUBLED.replace("WHAT", "ns.x.replace('a', 'aaaaaaaaaa')"),
    "replacement by a filter": DOUBLED.replace("WHAT", "ns.x | replace('a', 'aaaaaaaaaa')"),
    "joining": DOUBLED.replace("WHAT", "ns.x.join('aaaaaaaaaa')"),
    "joining by a filter": DOUBLED.replace("WHAT", "[ns.x, ns.x] | join(ns.x)"),
    "formatting": DOUBLED.replace("WHAT", "'{0}{0}{0}'.format(ns.x)"),
    "formatting by a filter": DOUBLED.replace("WHAT", "'%s%s%s' | format(ns.x, ns.x, ns.x)"),
    "formatting by an operator": DOUBLED.replace("WHAT", "'%s%s%s' % (ns.x, ns.x, ns.x)"),
    "indenting": DOUBLED.replace("WHAT", "(ns.x ~ '\\n') | indent(ns.x, true)"),
    "a block that is set": DOUBLED.replace(
        "{% set ns.x = WHAT %}", "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"
    ),
    "a number that is squared": DOUBLED.replace("'aaaaaaaaaa'", "10").replace(
        "WHAT", "ns.x * ns.x"
    ),
    "many large texts": (
        "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = ns.x + ['a' * "
        "9999999 ~ i] %}{% endfor %}"
    ),
    "center": "{{ 'a'.center(300000000) }}",
    "center by a filter": "{{ 'a' | center(300000000) }}",
    "padding": "{{ 'a'.zfill(messages | length * 300000000) }}",
    "a width": "{{ '{:300000000}'.format(1) }}",
    "a width from elsewhere": "{{ '{:{}}'.format(1, 99999999) }}",
    "tabs": "{{ ('\t' * 99999).expandtabs(99999) }}",
    "a table": "{{ ('a' * 99999).translate({97: 'x' * 99999}) }}",
    "words": "{{ ('a ' * 20000000).split() }}",
    "wrapping": "{{ ('a ' * 3000000) | wordwrap(1) }}",
    "slices": "{{ [1] | slice(10 ** 9) | list }}",
    "batches": "{{ [1] | batch(10 ** 9, 'x') | list }}",
    "a sum of lists": "{{ ([[1]] * 99999) | sum(start=[]) }}",
    "text for layouts": "{{ lipsum(n=1000000) }}",
    "a date": "{{ strftime_now('%c' * 1000000) }}",
    "printing what is shared": SHARED + "{{ ns.x }}",
    "JSON of what is shared": SHARED + "{{ ns.x | tojson }}",
    "a namespace of what is shared": SHARED + "{{ ns }}",
    "comparing what is shared": SHARED + SHARED.replace("ns", "other") + "{{ ns.x == other.x }}",
    "looking for what is shared": SHARED
    + SHARED.replace("ns", "other")
    + "{{ ns.x in [other.x] }}",
    "testing what is shared": SHARED
    + SHARED.replace("ns", "other")
    + "{{ ns.x is equalto other.x }}",
    "counting what is shared": SHARED
    + SHARED.replace("ns", "other")
    + "{{ [other.x].count(ns.x) }}",
    "a refusal with what is shared": SHARED + "{{ raise_exception(ns.x) }}",
    "unique ones of what is shared": SHARED
    + SHARED.replace("ns", "other")
    + "{{ [ns.x, other.x] | sort }}",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_it_is_stopped(source: str) -> None:
    """Found out when it is loaded, or told to whoever chats; the frontend lives on."""
    try:
        template = ChatTemplate(source, {})
    except ValueError:
        return
    with pytest.raises(InvalidRequest):
        template.render([{"role": "user", "content": "hi"}])


def test_the_budget_is_that_of_one_rendering() -> None:
    source = "{% for message in messages %}{{ message.content }}{% endfor %}"
    template = ChatTemplate(source, {})
    messages = [{"role": "user", "content": "x" * 1_000_000}] * 30
    for _ in range(20):
        assert len(template.render(messages)) == 30_000_000


def test_what_honest_templates_do_with_much_is_no_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_budget, "CPU_S_MAX", 60.0)  # of what a busy machine needs
    source = (
        "{% set ns = namespace(text='', seen=[]) %}{% for m in messages %}{% set c = "
        "m.content | trim %}"
        "{% if '</think>' in c %}{% set c = c.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
        "{% set ns.seen = ns.seen + [m.role] %}{{ '<' ~ m.role ~ '>' + c + '\\n' }}{{ m | "
        "tojson | length }}"
        "{% if m.role == messages[0].role %}{{ m.content.replace('a', 'b') | length }}{% "
        "endif %}{% endfor %}"
        "{{ ns.seen | join(',') | length }}"
    )
    messages: list[dict[str, Any]] = [
        {"role": ("user", "assistant")[turn % 2], "content": f"turn {turn} " * 50}
        for turn in range(1_000)
    ]
    assert len(ChatTemplate(source, {}).render(messages)) > 400_000
