"""A section of a file that configures several kinds of worker."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from protocol.process.start_error import EXIT_CANNOT_START, StartError
from workers import app
from workers.config_section import read_section, says, section_file
from workers.kinds import engines
from workers.kinds.arguments import Arguments
from workers.kinds.prefill import PREFILL
from workers.kinds.registry import kind_for
from workers.kinds.text import TEXT
from workers.settings import WorkerSettings
from workers.sim.engine import SimEngine
from workers.sim.settings import SimSettings

FILE = """
prefill:
  disaggregation-mode: prefill
  page_size: 32
  tp: 2
decode: {disaggregation_mode: decode, disable-radix-cache: true, sim-fault: [a, b]}
words: just text
empty:
3: {}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "fleet.yaml"
    path.write_text(FILE)
    return str(path)


def told(file: str, key: str, *argv: str, engine: str = "sim") -> Arguments:
    named: Any = engine
    settings = WorkerSettings(disagg_config=file, disagg_config_key=key, engine=named)
    return app._arguments(settings, argv, None)


def test_a_section_says_what_its_flags_would(file: str) -> None:
    section = read_section(file, "prefill")
    assert section == {"disaggregation-mode": "prefill", "page_size": 32, "tp": 2}
    assert says(section, "--page-size") == "32"
    assert says(section, "--tp-size", "--tp") == "2"
    assert says(section, "--dp-size") is None
    assert read_section(file, "3") == {}


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("nobody", "has no key 'nobody'; it has: prefill, decode, words, empty, 3"),
        ("words", "under 'words' is no mapping of arguments"),
        ("empty", "under 'empty' is no mapping of arguments"),
    ],
)
def test_a_key_without_a_section_is_said(file: str, key: str, why: str) -> None:
    with pytest.raises(StartError, match=why):
        read_section(file, key)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"- prefill\n", "is no mapping of keys to sections"),
        (b"", "is no mapping of keys to sections"),
        (b"a: [1\nb: 2", "is no YAML: while parsing"),
        (b"\xff\xfe\x00", "is no YAML: "),
        (b"{}", "has no key 'prefill'; it has: none"),
    ],
)
def test_a_file_that_is_none_is_said_in_one_line(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_bytes(content)
    with pytest.raises(StartError, match=why) as told:
        read_section(str(path), "prefill")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (("--disagg-config", "x.yaml"), "--disagg-config and --disagg-config-key go together"),
        (("--disagg-config-key", "x"), "--disagg-config and --disagg-config-key go together"),
        (
            ("--disagg-config", "nowhere.yaml", "--disagg-config-key", "x"),
            "--disagg-config nowhere.yaml: No such file",
        ),
    ],
)
def test_a_worker_without_its_section_cannot_start(
    argv: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["--engine", "sim", *argv]) == EXIT_CANNOT_START
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"kvmesh worker cannot start: {why}")


def test_the_environment_names_file_and_section(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DYN_SGL_DISAGG_CONFIG", file)
    monkeypatch.setenv("DYN_SGL_DISAGG_CONFIG_KEY", "nobody")
    assert app.run(["--engine", "sim"]) == EXIT_CANNOT_START
    assert "it has: prefill, decode" in capsys.readouterr().err


def test_a_section_chooses_the_kind_and_the_command_line_wins(file: str) -> None:
    assert kind_for(told(file, "prefill")) is PREFILL
    assert kind_for(told(file, "decode")) is TEXT
    assert kind_for(told(file, "decode", "--disaggregation-mode", "prefill")) is PREFILL
    assert kind_for(told(file, "prefill", "--disaggregation-mode=decode")) is TEXT


def test_nodes_that_a_section_describes_have_one_name(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("decode: {nnodes: 2, dist_init_addr: '10.0.0.1:5000'}")
    name = app._default_worker_id(told(str(path), "decode", "--node-rank", "1"))
    assert name == "engine-10.0.0.1:5000"


def test_the_file_of_a_section_is_of_this_user_and_is_removed() -> None:
    section = {"page_size": 16, "model-path": "x", "json": {"a": [1]}}
    with section_file(section) as name:
        assert yaml.safe_load(Path(name).read_text()) == section
        assert Path(name).suffix == ".yaml"
        assert Path(name).stat().st_mode & 0o077 == 0
    assert not Path(name).exists()
    name = ""
    with suppress(ZeroDivisionError), section_file(section, dashed=True) as name:
        assert "page-size: 16" in Path(name).read_text()
        raise ZeroDivisionError
    assert not Path(name).exists()


def settings_of(arguments: Arguments, monkeypatch: pytest.MonkeyPatch) -> SimSettings:
    """What the simulated engine is told."""
    seen: list[SimSettings] = []
    monkeypatch.setattr(SimEngine, "__init__", lambda _, settings, **__: seen.append(settings))
    kind_for(arguments).engine(arguments)
    return seen[0]


def test_the_simulated_engine_is_told_what_its_section_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(
        "decode: {disaggregation_mode: decode, page_size: 32, disable_radix_cache: true, "
        "sim_fault: [die-at=7, slow=2], kv_events_config: null}\n"
        "prefill: {disaggregation-mode: prefill, disable-radix-cache: false}"
    )
    settings = settings_of(told(str(path), "decode", "--page-size", "64"), monkeypatch)
    assert (settings.disaggregation_mode, settings.page_size) == ("decode", 64)
    assert settings.disable_radix_cache
    assert settings.sim_fault == ("die-at=7", "slow=2")
    settings = settings_of(told(str(path), "prefill"), monkeypatch)
    assert (settings.disaggregation_mode, settings.page_size) == ("prefill", 16)
    assert not settings.disable_radix_cache


def test_what_the_simulated_engine_does_not_know_is_said(file: str) -> None:
    arguments = told(file, "prefill")
    with pytest.raises(StartError, match="does not know: --tp"):
        kind_for(arguments).engine(arguments)


def test_an_engine_takes_one_file(file: str) -> None:
    for engine, flag in (("sim", "--sim-config"), ("sglang", "--config")):
        for items in ((flag, "mine.yaml"), (f"{flag}=mine.yaml",)):
            arguments = told(file, "decode", *items, engine=engine)
            with (
                pytest.raises(StartError, match=f"--disagg-config and {flag} exclude each other"),
                engines.engine_argv(arguments, flag),
            ):
                pass
