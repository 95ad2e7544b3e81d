"""Stop strings and patterns that took seconds of the frontend's loop or of an engine's scheduler,
or an automaton for each choice.
"""

import pytest

from protocol.limits import STOPS_CHARS_MAX
from starter.process import Process
from tests.kit.fleet import Fleet
from tests.security.another_user import AnotherUser, post


def long_stops(count: int, chars: int) -> list[str]:
    return [
        "".join(chr(33 + (i * 7 + j * 13 + j * j % 31) % 90) for j in range(chars - 1))
        + chr(200 + i)
        for i in range(count)
    ]


REFUSED = {
    "classes of all of Unicode": {
        "stop_regex": ["(?i)" + "[\x01-\uffff]" * 30 + f"{number:02}" for number in range(32)]
    },
    "a thousand empty repetitions": {"stop_regex": "(?:(?:(?:){9999}){9999}){9999}a"},
    "too many states": {"stop_regex": "((a{100}){100}){100}"},
    "34 KB of stop strings": {"stop": long_stops(32, 1024), "n": 128},
}
TAKEN = {
    "many ways": {
        "stop_regex": [f"(?:a?){{12}}[b{chr(100 + number)}]" for number in range(31)],
        "n": 16,
    },
    "a long match": {"stop_regex": ["(?:a?){12}b", "[^b]{511}c", "(.*)*(x+x+)+y"], "n": 16},
    "classes": {"stop_regex": "(?i)" + "[\x01-\u07ff]" * 40 + "#", "n": 16},
    "as long stop strings as may be": {"stop": long_stops(32, STOPS_CHARS_MAX // 32), "n": 128},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_too_large_is_refused_at_once(fleet: tuple[Fleet, Process], name: str) -> None:
    with AnotherUser(*fleet):
        for _ in range(3):
            status, answer = post(
                fleet[0],
                "/v1/completions",
                {"model": "demo", "prompt": "x", "max_tokens": 1, **REFUSED[name]},
            )
            assert status == 400, answer[:300]
            assert b'"stop' in answer


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken_costs_others_nothing(fleet: tuple[Fleet, Process], name: str) -> None:
    with AnotherUser(*fleet):
        asked = {
            "model": "demo",
            "prompt": "x",
            "max_tokens": 200,
            "ignore_eos": True,
            **TAKEN[name],
        }
        status, answer = post(fleet[0], "/v1/completions", asked)
        assert status == 200, answer[:300]
