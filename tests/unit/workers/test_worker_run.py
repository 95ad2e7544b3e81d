"""How a worker starts, or says in one line why it does not."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from protocol.process.start_error import EXIT_CANNOT_START, StartError
from workers import app as subject
from workers.kinds import engines
from workers.kinds.arguments import Arguments
from workers.kinds.registry import kind_for
from workers.settings import WorkerSettings


def _no_engine(*_: object) -> None:
    pytest.fail("the engine was built")


def _make_engine(settings: WorkerSettings, *argv: str) -> None:
    arguments = subject._arguments(settings, argv, None)
    kind_for(arguments).engine(arguments)


def _name(*engine_argv: str) -> str:
    return subject._default_worker_id(Arguments(WorkerSettings(), engine_argv))


def _server_that_raises(error: BaseException | type[BaseException]) -> type:
    class Server:
        def __init__(self, *_: object, **__: object) -> None: ...

        async def start(self, _: str) -> None:
            raise error

    return Server


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--frontend", "tcp://192.0.2.1:5550"), "--mesh-key-file"),
        (
            ("--frontend", "tcp://127.0.0.1:1", "--frontend", "tcp://frontends.example:5550"),
            "--mesh-key-file",
        ),
        (("--frontend", "nonsense"), "tcp://HOST:PORT"),
        (("--mesh-key-file", "/nowhere"), "/nowhere"),
        (
            ("--graceful-shutdown-timeout-secs", "-1"),
            "--graceful-shutdown-timeout-secs must be at least 0",
        ),
        (("--encodings-port", "-1"), "--encodings-port must be 0 to"),
        (("--encoder-cache-mb", "-1"), "--encoder-cache-mb must be at least 0"),
        (("--system-host", ""), "--system-host must not be empty"),
    ],
)
def test_what_cannot_work_is_found_before_the_engine_is_built(
    arguments: Sequence[str],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(subject, "kind_for", _no_engine)
    assert subject.run(["--engine", "sim", *arguments]) == EXIT_CANNOT_START
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kvmesh worker cannot start: ")
    assert why in line


def test_a_start_error_out_of_a_task_group_is_still_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        subject,
        "WorkerServer",
        _server_that_raises(
            ExceptionGroup("outer", [ExceptionGroup("inner", [StartError("no way")])])
        ),
    )
    assert subject.run(["--engine", "sim", "--frontend", "tcp://127.0.0.1:1"]) == EXIT_CANNOT_START
    assert capsys.readouterr().err == "kvmesh worker cannot start: no way\n"


def test_a_defect_is_not_taken_for_a_start_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "WorkerServer", _server_that_raises(ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        subject.run(["--engine", "sim", "--frontend", "tcp://127.0.0.1:1"])


def test_a_host_for_frontends_says_in_one_line_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda _: None)
    assert subject.run(["--frontend", "tcp://127.0.0.1:1"]) == EXIT_CANNOT_START
    assert capsys.readouterr().err.startswith(
        "kvmesh worker cannot start: SGLang is not installed here, only what a frontend needs: pip"
    )
    assert subject.run(["--help"]) == 0
    assert "--worker-id" in capsys.readouterr().out


def test_sglang_logs_at_the_level_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    engine = SimpleNamespace(
        SglangEngine=SimpleNamespace(from_argv=lambda argv, **_: seen.append(list(argv)))
    )
    monkeypatch.setitem(sys.modules, "workers.sglang.engine", engine)  # type: ignore[arg-type]
    _make_engine(WorkerSettings(log_level="warning"), "--tp", "2")
    assert seen == [["--tp", "2", "--log-level", "warning"]]


@pytest.mark.parametrize(
    ("engine_argv", "name"),
    [
        ([], ""),
        (["--tp", "2"], ""),
        (["--model-path", "/models/qwen/"], "qwen"),
        (["--model-path=/models/qwen"], "qwen"),
        (["--model", "Qwen/Qwen3-0.6B"], "Qwen3-0.6B"),
        (
            ["--model-path", "/models/qwen", "--served-model-name=team/chat", "--tp", "2"],
            "team/chat",
        ),
        (["--model-path"], ""),
    ],
)
def test_the_model_that_loads_has_a_name(engine_argv: list[str], name: str) -> None:
    assert subject._model_named_in(Arguments(WorkerSettings(), tuple(engine_argv))) == name


def test_two_workers_never_have_one_name() -> None:
    assert _name() != _name()


def test_the_nodes_of_one_engine_have_one_name() -> None:
    nodes = [
        ["--nnodes", "2", "--node-rank", rank, "--dist-init-addr", "10.0.0.1:5000"] for rank in "01"
    ]
    assert {_name(*node) for node in nodes} == {"engine-10.0.0.1:5000"}


def test_a_key_lets_a_worker_dial_another_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EngineBuilt(Exception):
        pass

    def built(*_: object) -> None:
        raise EngineBuilt

    key = tmp_path / "key"
    key.write_text("ab" * 32)
    monkeypatch.setattr(subject, "kind_for", built)
    with pytest.raises(EngineBuilt):
        subject.run(["--frontend", "tcp://192.0.2.1:5550", "--mesh-key-file", str(key)])


def test_a_custom_template_is_the_engines_whoever_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "mine.jinja"
    template.write_text("{{ messages }}")
    seen: list[list[str]] = []
    engine = SimpleNamespace(
        SglangEngine=SimpleNamespace(from_argv=lambda argv, **_: seen.append(list(argv)))
    )
    monkeypatch.setitem(sys.modules, "workers.sglang.engine", engine)  # type: ignore[arg-type]
    monkeypatch.setenv("TEMPLATES", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for written in ("$TEMPLATES/mine.jinja", "~/mine.jinja", str(template)):
        _make_engine(WorkerSettings(custom_jinja_template=written))
    assert [argv[:2] for argv in seen] == [["--chat-template", str(template)]] * 3


def test_a_custom_template_that_is_not_there_is_a_start_error() -> None:
    with pytest.raises(
        StartError, match=r"--custom-jinja-template \$NOWHERE/a.jinja: there is no file"
    ):
        _make_engine(WorkerSettings(custom_jinja_template="$NOWHERE/a.jinja", engine="sim"))


def test_a_custom_template_is_not_for_sglangs_tokenizer_and_that_not_for_the_simulated_engine() -> (
    None
):
    with pytest.raises(StartError, match="exclude each other"):
        WorkerSettings(custom_jinja_template="a.jinja", use_sglang_tokenizer=True)
    with pytest.raises(StartError, match="simulated engine has no tokenizer"):
        _make_engine(WorkerSettings(use_sglang_tokenizer=True, engine="sim"))


@pytest.mark.parametrize(
    "endpoint",
    ["", "a.b.c", "dyn://a.b", "dyn://a.b.c.d", "dyn://a..c", "http://a.b.c", "dyn://a.b.c d"],
)
def test_a_malformed_endpoint_is_a_start_error(endpoint: str) -> None:
    with pytest.raises(StartError, match=r"dyn://namespace\.component\.endpoint"):
        WorkerSettings(endpoint=endpoint)
