"""Declares settings once: a dataclass field is the flag, the environment variable, the YAML key,
the help and the default.

    @dataclass(frozen=True, kw_only=True)
    class FrontendSettings:
        http_port: int = setting(8000, "HTTP port", env="KVMESH_HTTP_PORT")

gives `--http-port`, `KVMESH_HTTP_PORT`, the YAML key `http-port` and a line of `--help`.
Precedence: flag, environment, file, default. ConfigArgParse does the merging; this file only
derives its arguments from the fields.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any, Literal, NoReturn, TypeVar, cast, get_args, get_origin, get_type_hints

import configargparse

from protocol.process.packaging import VERSION
from protocol.process.start_error import EXIT_CANNOT_START

Settings = TypeVar("Settings")

LogLevel = Literal["debug", "info", "warning", "error"]


def setting(
    default: Any,
    help_text: str,
    *,
    env: str,
    also_env: str | None = None,
    flag: str | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """Returns a dataclass field that is also a command-line setting.

    A tuple default means a repeatable flag, whose values commas may stand between too; the choices
    of a Literal type need not be given again.
    `also_env` is read where `env` is not set: the reference product's name of what has one of ours.
    """
    metadata = {
        "help": help_text,
        "env": env,
        "also_env": also_env,
        "flag": flag,
        "choices": choices,
    }
    return dataclasses.field(default=default, metadata=metadata)


def parse_settings(
    cls: type[Settings], argv: Sequence[str], *, prog: str, config_flag: str = "--config"
) -> Settings:
    """Returns the settings of `cls` that flags, environment and file give; unknown arguments and
    wrong values end the process with EXIT_CANNOT_START, since a supervisor need not try again.
    """
    settings, rest = parse_known_settings(cls, argv, prog=prog, config_flag=config_flag)
    if rest:
        _parser(cls, prog, config_flag).error(f"unknown arguments: {' '.join(rest)}")
    return settings


def parse_known_settings(
    cls: type[Settings], argv: Sequence[str], *, prog: str, config_flag: str, add_help: bool = True
) -> tuple[Settings, list[str]]:
    """Returns the settings of `cls`, and the arguments that they do not name, in order, for another
    parser.
    """
    namespace, rest = _parser(cls, prog, config_flag, add_help=add_help).parse_known_args(
        list(argv)
    )
    values = {field.name: _value(getattr(namespace, field.name), field) for field in _fields(cls)}
    return cls(**values), cast("list[str]", rest)


def settings_help(cls: type[Any], *, prog: str, config_flag: str) -> str:
    """Returns the --help text of `cls`, to be shown beside that of another parser."""
    return cast("str", _parser(cls, prog, config_flag).format_help())


def _parser(cls: type[Any], prog: str, config_flag: str, *, add_help: bool = True) -> Any:
    parser: Any = _Parser(
        prog=prog,
        # one line: a wrong setting is told behind it, and --help lists all below it
        usage="%(prog)s [--help] [SETTING ...]",
        allow_abbrev=False,
        add_help=add_help,
        config_file_parser_class=configargparse.YAMLConfigFileParser,
        args_for_setting_config_path=[config_flag],
        config_arg_help_message=(
            "YAML file with these settings; keys are the flags without dashes in front"
        ),
        formatter_class=configargparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"kvmesh {VERSION}",
        help="print the version and exit",
    )
    hints = get_type_hints(cls)
    for field in _fields(cls):
        flag = field.metadata["flag"] or "--" + field.name.replace("_", "-")
        parser.add_argument(
            flag,
            dest=field.name,
            env_var=_variable(field),
            help=_help(field),
            **_argument_kind(hints[field.name], field),
        )
    return parser


class _Parser(configargparse.ArgumentParser):  # pyright: ignore[reportUntypedBaseClass]
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)  # pyright: ignore[reportUnknownMemberType]
        self.exit(EXIT_CANNOT_START, f"{self.prog}: error: {message}\n")  # pyright: ignore[reportUnknownMemberType]
        raise AssertionError("exit returns not")

    def convert_item_to_command_line_arg(self, action: Any, key: str, value: Any) -> list[str]:
        if isinstance(value, list) and isinstance(
            action, configargparse.argparse.BooleanOptionalAction
        ):
            self.error(f"{key} is true or false, not {value}")
        return super().convert_item_to_command_line_arg(action, key, value)  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]


def _help(field: "dataclasses.Field[Any]") -> str:
    text, also = field.metadata["help"], field.metadata["also_env"]
    return f"{text}; {also} counts where the variable is not set" if also else text


def _variable(field: "dataclasses.Field[Any]") -> str:
    own, other = field.metadata["env"], field.metadata["also_env"]
    return other if other is not None and other in os.environ and own not in os.environ else own


def _argument_kind(hint: Any, field: "dataclasses.Field[Any]") -> dict[str, Any]:
    if hint is bool or hint == bool | None:
        return {"action": configargparse.argparse.BooleanOptionalAction, "default": field.default}
    if get_origin(hint) is tuple:
        # argparse would append to the default; None stands for it until _value.
        return {"action": "append", "type": get_args(hint)[0], "default": None, "metavar": "VALUE"}
    if get_origin(hint) is Literal:
        return {"type": str, "default": field.default, "choices": get_args(hint)}
    scalar = next((arg for arg in get_args(hint) if arg is not type(None)), hint)
    return {"type": scalar, "default": field.default, "choices": field.metadata["choices"]}


def _fields(cls: type[Any]) -> "list[dataclasses.Field[Any]]":
    """Returns the fields that are settings, those that the class itself declares first."""
    fields = [field for field in dataclasses.fields(cls) if "help" in field.metadata]
    return sorted(fields, key=lambda field: field.name not in cls.__annotations__)


def _value(value: Any, field: "dataclasses.Field[Any]") -> Any:
    if isinstance(value, list):
        return tuple(each for said in cast("list[Any]", value) for each in _listed(said))
    return field.default if value is None else value


def _listed(said: Any) -> list[Any]:
    """Returns what one value says, which commas may stand between."""
    if not isinstance(said, str) or "," not in said:
        return [said]
    return [each for part in said.split(",") if (each := part.strip())]
