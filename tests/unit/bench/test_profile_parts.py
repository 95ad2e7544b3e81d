"""Samples of a profiler are of the part whose code is innermost."""

import pytest

from bench.frontend.profile_parts import REST, part_of, shares

MAIN = "<module> (/x/frontend/__main__.py:49)"
CHAT = "_answer (/x/frontend/api/openai/chat.py:60)"
UVICORN = "/y/uvicorn/protocols/http/httptools_impl.py"


@pytest.mark.parametrize(
    ("innermost", "part"),
    [
        ("render (/x/frontend/text/templates/template.py:91)", "template"),
        ("root (<template>:4)", "template"),
        ("new_context (/y/jinja2/runtime.py:93)", "template"),
        ("choose (/x/frontend/routing/policies/kv_aware.py:43)", "routing"),
        (f"RequestResponseCycle.send ({UVICORN}:1)", "HTTP out"),
        (
            f"HttpToolsProtocol.data_received ({UVICORN}:1)",
            "HTTP in",
        ),
        ("_send_body (/x/frontend/http/cycle.py:1)", "HTTP out"),
        ("answer (/x/frontend/http/exchange.py:1)", "exchange"),
        ("loads (/y/json/decoder.py:1)", "answer"),
    ],
)
def test_the_innermost_frame_that_has_a_part_counts(innermost: str, part: str) -> None:
    assert part_of([MAIN, CHAT, innermost]) == part


def test_shares_are_of_what_runs_in_the_frontend() -> None:
    raw = [f"{MAIN};{CHAT} 3", f"{MAIN};run (/y/asyncio/runners.py:1) 1", "other (/z.py:1) 9"]
    assert shares(raw) == {"answer": 0.75, REST: 0.25}
    assert shares([]) == {}
