"""The suites: each a command that tests the stack at KVMESH_URL and leaves a JUnit report."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from starter.process import REPO

_BIN: Final = REPO / ".venv-conformance" / "bin"

SEED: Final = "20240613"
"""Of the generated requests; any fixed number."""

EXAMPLES_MAX: Final = "40"
"""Generated requests per operation and phase; the whole suite takes some two minutes with it on two
cores.
"""

CHECKS: Final = (
    "not_a_server_error,content_type_conformance,status_code_conformance,"
    "response_schema_conformance,unsupported_method"
)


@dataclass(frozen=True)
class Suite:
    """One row of the summary.

    Attributes:
        words: the command; `{url}` and `{report}` stand for the stack's URL and the report's path.
        cwd: where it runs, from the repository's root.
        seconds_max: after which it is ended.
    """

    name: str
    words: Sequence[object]
    cwd: str = "."
    env: dict[str, str] = field(default_factory=dict[str, str])
    is_pytest: bool = False
    seconds_max: int = 420

    def command(self, *, url: str, report: Path) -> list[str]:
        """The command with its places filled in."""
        return [str(word).format(url=url, report=report) for word in self.words]


def _pytest(name: str, *paths: str, seconds_max: int = 420) -> Suite:
    words = (
        _BIN / "python",
        "-m",
        "pytest",
        "-c",
        "conformance/pytest.ini",
        "--rootdir",
        ".",
        "--junit-xml",
        "{report}",
        *paths,
    )
    return Suite(name, words, is_pytest=True, seconds_max=seconds_max)


SUITES: Final = (
    _pytest(
        "openai",
        *(
            f"conformance/clients/test_openai_{name}.py"
            for name in ("chat", "completions", "embeddings", "images", "responses", "videos")
        ),
    ),
    _pytest(
        "frameworks",
        *(
            f"conformance/clients/test_{name}.py"
            for name in ("langchain", "llama_index", "anthropic")
        ),
    ),
    _pytest("native", "conformance/clients/test_native.py"),
    _pytest("peers", "conformance/peers"),
    Suite(
        "vercel",
        (
            "node",
            "--test",
            "--test-reporter=spec",
            "--test-reporter-destination=stdout",
            "--test-reporter=junit",
            "--test-reporter-destination={report}",
            "smoke.test.mjs",
        ),
        cwd="conformance/vercel",
    ),
    _pytest("agents", "conformance/agents", seconds_max=900),
    _pytest("parameters", "conformance/parameters"),
    Suite(
        "schemathesis",
        (
            _BIN / "schemathesis",
            "run",
            "{url}/openapi.json",
            "--checks",
            CHECKS,
            "--seed",
            SEED,
            "--max-examples",
            EXAMPLES_MAX,
            "--phases",
            "examples,coverage,fuzzing",
            "--report",
            "junit",
            "--report-junit-path",
            "{report}",
            "--continue-on-failure",
            "--suppress-health-check",
            "all",
            "--request-timeout",
            "60",
            "--no-color",
            "--warnings",
            "off",
        ),
        env={"SCHEMATHESIS_HOOKS": "conformance.schema_hooks"},
    ),
)
