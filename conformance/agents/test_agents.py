"""Each agent reads a file with its own tool in a first turn and again in a second one, and tells
the word in it.

Nothing stands between agent and kvmesh: what it sends is answered as it came, and every request
with 200. The word has to go through prompt, call, tool, history and answer, twice.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from conformance.agents.script import TASK

MODEL = os.environ["KVMESH_AGENT_MODEL"]
URL = os.environ["KVMESH_URL"]
PROGRAMS = Path(__file__).parent / "node_modules" / ".bin"

TURN_S_MAX = 240
"""An agent's prompt has 10 to 20 thousand tokens, which two cores take their time to read."""

CONTEXT_TOKENS, ANSWER_TOKENS = 32_768, 512

pytestmark = pytest.mark.timeout(2 * TURN_S_MAX + 30)

_AT_HOME_ONLY = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
}


@dataclass
class Workplace:
    """A project with a file, and a home that nobody has used."""

    root: Path
    env: dict[str, str] = field(default_factory=dict[str, str])
    complaints: str = ""
    """What the last program wrote to its standard error."""

    def __post_init__(self) -> None:
        self.project, self.home = self.root / "project", self.root / "home"
        for directory in (self.project, self.home):
            directory.mkdir()
        self.note = self.project / "notes.txt"
        subprocess.run(["git", "init", "--quiet"], cwd=self.project, check=True)

    def run(self, *words: str) -> str:
        """What an agent prints."""
        env = (
            os.environ
            | _AT_HOME_ONLY
            | {"HOME": str(self.home), "PWD": str(self.project)}
            | self.env
        )
        done = subprocess.run(
            [PROGRAMS / words[0], *words[1:]],
            cwd=self.project,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TURN_S_MAX,
            check=False,
        )
        self.complaints = done.stderr
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """A file of the home."""
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


def two_turns(workplace: Workplace, first: Sequence[str], second: Sequence[str]) -> list[str]:
    """What the agent says in two turns of one session, between which the file changes."""
    before = outcomes()
    said: list[str] = []
    for words, word in ((first, "mango"), (second, "papaya")):
        workplace.note.write_text(f"The secret word is {word}.\n")
        said.append(workplace.run(*words, TASK.format(path=workplace.note)))
        assert f"The word is {word}." in said[-1], (
            f"{said[-1]}\n{workplace.complaints}\n{outcomes()}"
        )
    ended = {
        outcome: count - before.get(outcome, 0)
        for outcome, count in outcomes().items()
        if count > before.get(outcome, 0)
    }
    assert sum(ended.values()) >= 4
    assert {status for _, status in ended} == {"success"}, ended
    return said


def outcomes() -> Mapping[tuple[str, str], float]:
    """(endpoint, status) → requests that ended so."""
    counted: dict[tuple[str, str], float] = {}
    for line in httpx.get(f"{URL}/metrics").text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("dynamo_frontend_requests_total{"):
            labels = dict(part.split("=", 1) for part in name[name.index("{") + 1 : -1].split(","))
            key = labels["endpoint"].strip('"'), labels["status"].strip('"')
            counted[key] = counted.get(key, 0) + float(value)
    return counted


def test_claude_code(workplace: Workplace) -> None:
    workplace.env = {
        "ANTHROPIC_BASE_URL": URL,
        "ANTHROPIC_AUTH_TOKEN": "none",
        "ANTHROPIC_MODEL": MODEL,
    }
    words = ("claude", "--output-format", "json", "--print")
    first, second = map(
        json.loads, two_turns(workplace, words, ("claude", "--continue", *words[1:]))
    )
    assert first["session_id"] == second["session_id"]
    for turn in (first, second):
        assert not turn["is_error"]
        assert turn["num_turns"] == 2
    usage = second["usage"]
    assert usage["cache_read_input_tokens"] > 9 * usage["input_tokens"]  # both turns begin alike


def test_codex(workplace: Workplace) -> None:
    provider = (
        f'[model_providers.kvmesh]\nname = "kvmesh"\nbase_url = "{URL}/v1"\nwire_api = '
        '"responses"\n'
    )
    workplace.write(
        ".codex/config.toml", f'model = "{MODEL}"\nmodel_provider = "kvmesh"\n{provider}'
    )
    options = ("--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
    two_turns(
        workplace, ("codex", "exec", *options), ("codex", "exec", "resume", "--last", *options)
    )


def test_opencode(workplace: Workplace) -> None:
    model = {"name": MODEL, "limit": {"context": CONTEXT_TOKENS, "output": ANSWER_TOKENS}}
    options = {"baseURL": f"{URL}/v1", "apiKey": "none"}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "kvmesh",
        "options": options,
        "models": {MODEL: model},
    }
    settings = {
        "model": f"kvmesh/{MODEL}",
        "small_model": f"kvmesh/{MODEL}",
        "provider": {"kvmesh": provider},
    }
    workplace.write(".config/opencode/opencode.json", json.dumps(settings))
    two_turns(workplace, ("opencode", "run"), ("opencode", "run", "--continue"))
