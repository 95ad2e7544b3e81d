"""Two engines serve text and vectors alike: SGLang, and the simulation of one.

Each is imported when it is asked for: SGLang brings torch, and a host of frontends has neither.
"""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Final

from protocol.process.start_error import StartError
from protocol.process.tracing import PROTOCOLS, is_wanted, route_of
from workers.config_section import section_file
from workers.engine import Engine
from workers.kinds.arguments import Arguments
from workers.kinds.kind import EngineChoice, WorkerKind
from workers.process.model_path import check_model_path

STAGE_FLAG: Final = "--disaggregation-mode"
"""SGLang and the simulated engine both take by this flag which stage of requests they are for."""

_SPANS_FLAG: Final = "--otlp-traces-endpoint"

_SPANS_LEVEL: Final = "2"
"""Has SGLang tell of each stage of a request; its own 3 tells of each token too."""

Also = Callable[[Arguments], Sequence[str]]
"""What arguments an engine is given beyond those of the user, by those."""


def sglang(*flags: str, also: Also = lambda _: ()) -> EngineChoice:
    """Returns the choice of SGLang, run in this process.

    Args:
        flags: added to its arguments unless they are there.
        also: what else is added to given arguments.
    """
    return EngineChoice(
        lambda kind, arguments: _sglang(kind, _with(arguments, flags, also)),
        help_of_sglang,
        _forks_sglang,
    )


def simulated(*flags: str, also: Also = lambda _: ()) -> EngineChoice:
    """Returns the choice of the engine without a model, run in this process.

    Args:
        flags: added to its arguments unless they are there.
        also: what else is added to given arguments.
    """
    return EngineChoice(lambda _, arguments: _simulated(_with(arguments, flags, also)), help_of_sim)


def _with(arguments: Arguments, flags: tuple[str, ...], also: Also) -> Arguments:
    missing = (flag for flag in flags if flag not in arguments.engine_argv)
    return arguments.adding(*missing, *also(arguments))


@contextmanager
def engine_argv(
    arguments: Arguments, config_flag: str, *, dashed: bool = False
) -> Generator[tuple[str, ...]]:
    """Yields the engine's command line, which names a file with the section for as long as it may
    be read.

    Raises:
        StartError: it names a file of its own, and engines take one.
    """
    if not arguments.settings.disagg_config:
        yield arguments.engine_argv
        return
    if any(item.partition("=")[0] == config_flag for item in arguments.engine_argv):
        raise StartError(
            f"--disagg-config and {config_flag} exclude each other: the engine takes one file"
        )
    with section_file(arguments.section, dashed=dashed) as file:
        yield arguments.adding(config_flag, file).engine_argv


@contextmanager
def sglang_argv(arguments: Arguments) -> Generator[tuple[str, ...]]:
    """Yields SGLang's command line, with what our own settings say of it.

    Raises:
        StartError: the model path cannot be meant, or SGLang is not installed.
    """
    settings = arguments.settings
    check_model_path(arguments.told("--model-path", "--model"))
    require_sglang()
    # SGLang has flags for these, and with the same words; one flag sets both.
    ours = {
        "--log-level": settings.log_level,
        "--tool-call-parser": settings.dyn_tool_call_parser,
        "--reasoning-parser": settings.dyn_reasoning_parser,
    }
    told = [item for flag, value in ours.items() if value is not None for item in (flag, value)]
    with engine_argv(arguments.adding(*told, *_tracing(arguments)), "--config") as argv:
        yield argv


def _tracing(arguments: Arguments) -> Sequence[str]:
    """Returns what has SGLang record its spans too, and send them where ours go, unless its own
    flags say where.
    """
    if not is_wanted(arguments.settings.otel_export_enabled):
        return ()
    os.environ.setdefault("SGLANG_TRACE_LEVEL", _SPANS_LEVEL)
    if arguments.told(_SPANS_FLAG):
        return ("--enable-trace",)
    protocol, endpoint = route_of()
    os.environ.setdefault(PROTOCOLS[0], protocol)  # SGLang reads no other variable
    return ("--enable-trace", _SPANS_FLAG, endpoint)


def require_sglang() -> None:
    """Refuses to go on where SGLang is not installed.

    Raises:
        StartError: it is not.
    """
    # A host that was set up for frontends alone has neither SGLang nor what our modules for it
    # import.
    if find_spec("sglang") is None:
        raise StartError(
            "SGLang is not installed here, only what a frontend needs: pip install "
            "'.[sglang]', or make setup on a CPU host"
        )


@contextmanager
def sim_argv(arguments: Arguments) -> Generator[tuple[str, ...]]:
    """Yields the simulated engine's command line.

    Raises:
        StartError: our own settings ask for what only SGLang has.
    """
    settings = arguments.settings
    if settings.use_sglang_tokenizer:
        raise StartError(
            "--use-sglang-tokenizer is for SGLang: the simulated engine has no tokenizer"
        )
    if settings.dyn_tool_call_parser or settings.dyn_reasoning_parser:
        raise StartError(
            "the simulated engine has no parsers: leave --dyn-tool-call-parser and "
            "--dyn-reasoning-parser out"
        )
    with engine_argv(arguments, "--sim-config", dashed=True) as argv:
        yield argv


def _sglang(kind: WorkerKind, arguments: Arguments) -> Engine:
    settings = arguments.settings
    with sglang_argv(arguments) as argv:
        from workers.sglang.engine import SglangEngine  # noqa: PLC0415 - imports torch

        return SglangEngine.from_argv(
            argv,
            first_work=kind.first_work,
            kv_events=settings.kv_events,
            tokenizes=settings.use_sglang_tokenizer,
            key=arguments.key,
        )


def _forks_sglang(arguments: Arguments) -> bool:
    if find_spec("sglang") is None:
        return False  # as making it will say
    from workers.sglang.cpu import is_cpu_host  # noqa: PLC0415

    return is_cpu_host(arguments.engine_argv)


def help_of_sglang() -> str:
    """Returns the text of SGLang's own arguments."""

    def told() -> str:
        from workers.sglang.arguments import sglang_help  # noqa: PLC0415 - imports SGLang

        return sglang_help()

    return told_where_installed(told)


def told_where_installed(told: Callable[[], str]) -> str:
    """Returns what one of SGLang's parsers says of its arguments, if SGLang is installed here."""
    if find_spec("sglang") is None:
        return "SGLang's own arguments are told where it is installed."
    return told()


def _simulated(arguments: Arguments) -> Engine:
    with sim_argv(arguments) as argv:
        from workers.sim.engine import SimEngine  # noqa: PLC0415
        from workers.sim.handover.opening import meetings_of  # noqa: PLC0415

        return SimEngine.from_argv(
            argv,
            kv_events=arguments.settings.kv_events,
            meetings=partial(meetings_of, key=arguments.key),
        )


def help_of_sim() -> str:
    """Returns the text of the simulated engine's own arguments."""
    from workers.sim.settings import help_text  # noqa: PLC0415

    return help_text()
