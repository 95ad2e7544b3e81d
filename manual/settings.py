"""docs/settings.md, made of the declarations of settings and of the commands' options."""

import argparse
import dataclasses
from collections.abc import Callable, Iterator
from inspect import get_annotations
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from frontend.cli import chat, picture, up_options
from frontend.cli.bench import options as bench_options
from frontend.cli.doctor import options as doctor_options
from frontend.cli.top import options as top_options
from frontend.settings import FrontendSettings
from manual.markdown import cell, code, table
from protocol.process.own_directory import OWN_DIRECTORY
from workers.settings import WorkerSettings
from workers.sim.settings import SimSettings

_INTRODUCTION: Final = """\
# Settings

Made by `python -m manual` from the declarations in `frontend/settings.py`, `workers/settings.py`,
`workers/sim/settings.py` and `frontend/cli/`.

A flag beats its environment variable, which beats the YAML file (`--config` of a frontend,
`--kvmesh-config` of a worker), which beats the default. Keys of the file are the flags without the
dashes in front: `http-port: 8001`.

- A switch is a flag alone, and `--no-` in front turns it off: `--no-status-page`. Its variable and
  key are `true` or `false`.
- What may be repeated is a list in a variable and in the file: `[tcp://a:5550, tcp://b:5550]`; in a
  variable, and behind a flag, commas between the values are enough.
- Where two variables are named, the first counts if both are set.

What the reference product calls them, and what it has beside them:
[coming from Dynamo](coming_from_dynamo.md)."""

_OF_OTHERS: Final = """\
## Variables of others

| variable | read by | |
| --- | --- | --- |
| `OTEL_EXPORTER_OTLP_ENDPOINT` and others that begin with `OTEL_` | frontends, workers | [tracing](tracing.md) |
| `CUDA_VISIBLE_DEVICES` | workers, `kvmesh up`, `kvmesh doctor` | which GPUs there are |
| `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_HUB_OFFLINE` | workers | Hugging Face's: where models are kept, and how they are fetched |
| those that begin with `SGLANG_` or `NCCL_` | workers | SGLang's and NCCL's; some get another default here, as [where prompts are computed apart](disaggregation.md#leaving-cancelling-failing) |
| `OMP_NUM_THREADS` | workers on CPUs | threads of an engine's computing; worked out from the cores if not given |
| `FASTOKENS_BPE_THREADS` | frontends | fastokens': threads that share a long text; 1 if not given, which takes the least CPU and memory |
| `OPENAI_API_KEY` | `kvmesh bench` | the key of the server under load |
"""  # noqa: E501 - rows of a table

_SECTIONS: Final[tuple[tuple[str, str, type[Any]], ...]] = (
    ("A frontend", "`python -m frontend`.", FrontendSettings),
    (
        "A worker",
        """\
`python -m workers`. Every other argument is its engine's: SGLang's arguments under their own names,
or those of the [simulated engine](#the-simulated-engine).""",
        WorkerSettings,
    ),
    (
        "The simulated engine",
        """\
`python -m workers --engine sim`. Those that SGLang has too have its names. They may also stand in
a file, `--sim-config`.""",
        SimSettings,
    ),
)

_COMMANDS: Final[tuple[tuple[str, str, tuple[Callable[..., None], ...]], ...]] = (
    (
        "up",
        "Serves a model on this host. What follows `--` goes to the workers and their engines.",
        (up_options.add_arguments,),
    ),
    (
        "chat",
        "Talks to a frontend, or has it draw.",
        (chat.add_arguments, picture.add_arguments),
    ),
    ("top", "Shows what a mesh does.", (top_options.add_arguments,)),
    ("doctor", "Says what is wrong with a host.", (doctor_options.add_arguments,)),
    ("bench", "Puts a load on a server.", (bench_options.add_arguments,)),
)


def page() -> str:
    """Returns the whole of docs/settings.md."""
    return "\n\n".join([_INTRODUCTION, *_declared(), *_commands(), _OF_OTHERS])


def _declared() -> Iterator[str]:
    for title, introduction, declared in _SECTIONS:
        yield f"## {title}\n\n{introduction}"
        for part in declared.__mro__:
            rows = list(_settings(part))
            if rows:
                if part is not declared:
                    yield f"### {_about(part)}"
                yield table(("flag", "variable", "default", ""), rows)


def _about(part: type[Any]) -> str:
    """Returns what the settings of a part have in common, by its docstring, as a heading."""
    text = " ".join((part.__doc__ or "").split("\n\n")[0].split()).rstrip(".")
    of_all = text.partition("settings that ")[2]
    return f"Those that {of_all}"


def _settings(part: type[Any]) -> Iterator[list[str]]:
    """Yields a row for each setting that a class declares itself."""
    hints = get_type_hints(part)
    own = get_annotations(part)
    fields = dataclasses.fields(part) if dataclasses.is_dataclass(part) else ()
    for field in fields:
        if field.name in own and "help" in field.metadata:
            flag = field.metadata["flag"] or "--" + field.name.replace("_", "-")
            variables = [field.metadata["env"], field.metadata["also_env"]]
            yield [
                code(flag),
                ", ".join(code(each) for each in variables if each),
                _value(field.default),
                _text(field.metadata["help"], _choices(hints[field.name], field)),
            ]


def _choices(hint: Any, field: "dataclasses.Field[Any]") -> tuple[str, ...]:
    if get_origin(hint) is Literal:
        return tuple(map(str, get_args(hint)))
    return tuple(field.metadata["choices"] or ())


def _text(text: str, choices: tuple[str, ...]) -> str:
    named = f"; one of {', '.join(map(code, choices))}" if choices else ""
    return cell(text) + named


def _value(value: Any) -> str:
    """Returns a default as one would write it; nothing stands for none."""
    match value:
        case None | () | []:
            return ""
        case bool():
            written = str(value).lower()
        case float():
            written = f"{value:g}"
        case tuple() | list():
            written = ",".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
        case _:
            written = str(value).replace(str(OWN_DIRECTORY), "/tmp/kvmesh-UID")
    return code(written)


def _commands() -> Iterator[str]:
    for name, introduction, declare in _COMMANDS:
        parser = argparse.ArgumentParser(add_help=False)
        for add_arguments in declare:
            add_arguments(parser)
        rows = [_option(action) for action in parser._actions]
        yield f"## kvmesh {name}\n\n{introduction}"
        yield table(("option", "default", ""), rows)


def _option(action: argparse.Action) -> list[str]:
    names = action.option_strings or [str(action.metavar or action.dest)]
    default = _value(None if action.default == argparse.SUPPRESS else action.default)
    text = (action.help or "") % (vars(action) | {"prog": "kvmesh"})
    return [
        ", ".join(map(code, names)),
        default,
        _text(text, tuple(map(str, action.choices or ()))),
    ]
