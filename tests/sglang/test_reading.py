"""SGLang's parsers read every family's recorded output alike, however it is cut, batched or carried
on by another worker.
"""

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]

HERE = Path(__file__).parent
_NAMES = """
import json
from sglang.srt.function_call.parser_names import TOOL_CALL_PARSER_NAMES
from sglang.srt.parser.reasoning_parser_names import REASONING_PARSER_NAMES
print(json.dumps({"tool_calls": TOOL_CALL_PARSER_NAMES, "thinking": REASONING_PARSER_NAMES}))
"""
_PREPARED = "from workers.sglang.cpu import activate_if_cpu_host; activate_if_cpu_host()\n"


def recorded_names(kind: str) -> list[str]:
    """Names under `parsers:` in the recordings; read without YAML, for the parametrization
    below.
    """
    lists = [
        file.read_text().partition("parsers:\n")[2]
        for file in sorted((HERE / "recorded" / kind).glob("*.yaml"))
    ]
    return [line[2:] for text in lists for line in text.splitlines()[: _list_length(text)]]


def _list_length(text: str) -> int:
    return next(
        number for number, line in enumerate(text.splitlines()) if not line.startswith("- ")
    )


@pytest.fixture(scope="module")
def results(python: Any) -> dict[str, dict[str, tuple[int, str | None]]]:
    done = python(str(HERE / "read_recordings.py"))
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["tool_calls", "thinking"])
def test_there_is_a_recording_for_every_parser_that_sglang_has(python: Any, kind: str) -> None:
    done = python("-c", _PREPARED + _NAMES)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(recorded_names(kind)) == sorted(json.loads(done.stdout.splitlines()[-1])[kind])


@pytest.mark.parametrize("name", recorded_names("tool_calls"))
def test_tool_calls_are_read_alike_however_they_come(results: Any, name: str) -> None:
    texts, failure = results["tool_calls"][name]
    assert failure is None, failure
    assert texts == 2


@pytest.mark.parametrize("name", recorded_names("thinking"))
def test_thinking_is_read_alike_however_it_comes(results: Any, name: str) -> None:
    texts, failure = results["thinking"][name]
    assert failure is None, failure
    assert texts == 1


def request_checks() -> list[str]:
    """Names of the functions in read_requests.py that check something; that program cannot be
    imported here.
    """
    source = (HERE / "read_requests.py").read_text()
    return [
        line[4:].partition("(")[0]
        for line in source.splitlines()
        if line.startswith("def ") and "(ask: Asking)" in line
    ]


@pytest.fixture(scope="module")
def request_results(python: Any) -> dict[str, str | None]:
    done = python(str(HERE / "read_requests.py"))
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("check", request_checks())
def test_what_a_request_asks_of_its_reading(request_results: Any, check: str) -> None:
    assert request_results[check] is None, request_results[check]
