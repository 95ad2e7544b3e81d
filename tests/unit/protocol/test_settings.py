"""Settings: flag over environment over file over default."""

from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from frontend.settings import FrontendSettings
from protocol.process.settings import parse_known_settings, parse_settings, setting
from protocol.process.start_error import EXIT_CANNOT_START, StartError
from workers.settings import WorkerSettings


@dataclass(frozen=True, kw_only=True)
class Sample:
    port: int = setting(1, "a port", env="SAMPLE_PORT")
    peers: tuple[str, ...] = setting(("a",), "peers", env="SAMPLE_PEERS")
    fast: bool = setting(False, "speed", env="SAMPLE_FAST")


def test_the_flag_beats_the_environment_beats_the_file_beats_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("port: 2\npeers: [f, g]\n")
    assert parse_settings(Sample, [], prog="x") == Sample(port=1, peers=("a",))
    assert parse_settings(Sample, ["--config", str(file)], prog="x") == Sample(
        port=2, peers=("f", "g")
    )
    monkeypatch.setenv("SAMPLE_PORT", "3")
    assert parse_settings(Sample, ["--config", str(file)], prog="x").port == 3
    assert parse_settings(Sample, ["--config", str(file), "--port", "4"], prog="x").port == 4


def test_the_reference_products_variable_counts_where_ours_is_not_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DYN_HTTP_PORT", "9001")
    assert parse_settings(FrontendSettings, [], prog="x").http_port == 9001
    monkeypatch.setenv("KVMESH_HTTP_PORT", "9002")
    assert parse_settings(FrontendSettings, [], prog="x").http_port == 9002


def test_repeated_flags_replace_the_default() -> None:
    assert parse_settings(Sample, ["--peers", "b", "--peers", "c", "--fast"], prog="x") == Sample(
        peers=("b", "c"), fast=True
    )


def test_unknown_arguments_are_handed_on_in_order() -> None:
    settings, rest = parse_known_settings(
        Sample, ["--tp", "2", "--port", "5", "--enable-metrics"], prog="x", config_flag="--c"
    )
    assert (settings.port, rest) == (5, ["--tp", "2", "--enable-metrics"])


def test_unknown_arguments_end_a_process_that_takes_no_others() -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings(Sample, ["--prot", "5"], prog="x")
    assert ended.value.code == EXIT_CANNOT_START


def test_wrong_values_end_a_process_that_need_not_be_tried_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for take in (
        lambda: parse_settings(Sample, ["--port", "x"], prog="x"),
        lambda: parse_known_settings(Sample, ["--port", "x"], prog="x", config_flag="--c"),
    ):
        with pytest.raises(SystemExit) as ended:
            take()
        assert ended.value.code == EXIT_CANNOT_START
        assert "x: error: argument --port: invalid int value: 'x'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "peers"),
    [
        ("b,c", ("b", "c")),
        (" b , c,", ("b", "c")),
        ("[b, c]", ("b", "c")),
        ("b", ("b",)),
    ],
)
def test_a_variable_lists_what_may_be_repeated(
    monkeypatch: pytest.MonkeyPatch, said: str, peers: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SAMPLE_PEERS", said)
    assert parse_settings(Sample, [], prog="x").peers == peers
    if "[" not in said:
        assert parse_settings(Sample, ["--peers", said], prog="x").peers == peers
    assert parse_settings(Sample, ["--peers", "d"], prog="x").peers == ("d",)


@pytest.mark.parametrize("kind", [FrontendSettings, WorkerSettings])
def test_every_setting_has_help_and_an_environment_variable(kind: type) -> None:
    for field in fields(kind):
        assert field.metadata["help"], field.name
        assert field.metadata["env"].startswith(("KVMESH_", "DYN_", "OTEL_")), field.name


@pytest.mark.parametrize(
    ("line", "why"), [("fast: [true]", "fast is true or false"), ("fast: perhaps", "fast")]
)
def test_a_switch_in_a_file_is_true_or_false(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, why: str
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(line)
    with pytest.raises(SystemExit) as ended:
        parse_settings(Sample, ["--config", str(file)], prog="x")
    assert ended.value.code == EXIT_CANNOT_START
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("request_timeout", float("inf"), "--request-timeout must be above 0 and at most 1e12"),
        ("request_timeout", float("nan"), "--request-timeout must be above 0 and at most 1e12"),
        ("request_timeout", 1e18, "--request-timeout must be above 0 and at most 1e12"),
        ("request_timeout", 0.0, "--request-timeout must be above 0 and at most 1e12"),
        ("router_prefill_weight", float("nan"), "--router-prefill-weight must be 0 to 1e12"),
        ("router_request_weight", float("inf"), "--router-request-weight must be 0 to 1e12"),
        ("disagg_min_prompt", -1, "--disagg-min-prompt must be 0 to 1e12"),
        ("http_host", "", "--http-host must not be empty"),
        ("cache_dir", "", "--cache-dir must not be empty"),
    ],
)
def test_values_with_which_a_frontend_would_answer_nothing_or_to_anybody(
    name: str, value: float | str, why: str
) -> None:
    with pytest.raises(StartError, match=why):
        FrontendSettings(**{name: value})
