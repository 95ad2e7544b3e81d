"""The arguments of a generator are read by SGLang's own parser of those."""

import argparse
import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NoReturn

from protocol.process.start_error import StartError
from workers.process.failure_note import one_line
from workers.sglang.cpu import activate_if_cpu_host

_ONE_PLACE: Final = {
    "dp_size": "a worker makes one order at a time: start several workers",
    "nnodes": "a generator runs on one host",
}
_DEFAULTS: Final = {
    "sleep_on_idle": True,  # an idle scheduler otherwise burns a whole core
}


def parse_generator_args(argv: Sequence[str], *, videos: bool, cpu: bool) -> Any:
    """Returns SGLang's ServerArgs of a generator, `--config file` included.

    Raises:
        StartError: an argument is wrong, or the model makes something else.
    """
    parser = _sglang_parser()
    told = [_dashed(item) for item in argv]
    namespace, unknown = parser.parse_known_args(told)
    if not namespace.model_path and not any(item.startswith("--config") for item in told):
        raise StartError("--model-path is missing: a generator has no model of its own")
    server_args = _server_args(namespace, unknown, told)
    if cpu:
        from workers.sglang.cpu.number_format import choose_precisions  # noqa: PLC0415  # imports torch

        choose_precisions(server_args)
    for name, reason in _ONE_PLACE.items():
        if int(getattr(server_args, name) or 1) > 1:
            raise StartError(f"--{name.replace('_', '-')} cannot be more than 1 here: {reason}")
    if server_args.disagg_role.value != "monolithic":
        raise StartError("--disagg-role is for SGLang's own servers: a generator does all stages")
    makes = server_args.pipeline_config.task_type.data_type().name.lower()
    wanted = "video" if videos else "image"
    if makes != wanted:
        raise StartError(
            f"{server_args.model_path} makes {makes}s and no {wanted}s, as SGLang says; if it is "
            "wrong about that, --model-id names the model that this one is like"
        )
    return server_args


def generator_help() -> str:
    """Returns the text of SGLang's arguments for generators. Takes seconds: it imports SGLang."""
    make_ready(activate_if_cpu_host())
    return _sglang_parser().format_help()


def make_ready(cpu: bool) -> None:
    """Prepares this process, and those it starts, for SGLang's generators, behind
    `activate_if_cpu_host` and before the first import of them.
    """
    if cpu:
        os.environ["SGLANG_DIFFUSION_PLATFORM_OVERRIDE"] = "cpu"
        # As many as there are cores would wait for each other, and for the worker's own.
        cores = len(os.sched_getaffinity(0))
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // 2)))
        import_module("workers.sglang.cpu.modulation")


class _Refusing:
    """A _Refusing raises where argparse would print a usage of several hundred lines and exit."""

    def error(self, message: str) -> NoReturn:
        raise StartError(message)


def _sglang_parser() -> argparse.ArgumentParser:
    from sglang.multimodal_gen.runtime.server_args import ServerArgs  # noqa: PLC0415
    from sglang.multimodal_gen.runtime.utils.argparse import FlexibleArgumentParser  # noqa: PLC0415

    class _Parser(_Refusing, FlexibleArgumentParser):
        pass

    parser = _Parser(
        prog="python -m workers",
        add_help=False,
        usage="SGLang's arguments for diffusion models, each under its own name",
    )
    return ServerArgs.add_cli_args(parser)


def _server_args(namespace: argparse.Namespace, unknown: list[str], told: list[str]) -> Any:
    from sglang.multimodal_gen.runtime.server_args import ServerArgs  # noqa: PLC0415

    try:
        return ServerArgs.from_cli_args(namespace, unknown, dict(_DEFAULTS), argv=told)
    except SystemExit as error:  # as SGLang ends where an argument is unknown
        raise StartError(str(error.code).removeprefix("error: ")) from None
    except Exception as error:  # whatever SGLang's checks raise is the user's argument
        raise StartError(one_line(error)) from error


def _dashed(item: str) -> str:
    """Returns `--num_gpus=2` as `--num-gpus=2`."""
    if not item.startswith("--"):
        return item
    flag, equals, value = item.partition("=")
    return flag.replace("_", "-") + equals + value
