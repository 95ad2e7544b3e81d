"""Which workers `kvmesh up` starts, and with which arguments each."""

import argparse
import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from frontend.cli.engine_arguments import EngineArguments
from frontend.cli.placing import Seat, seats
from protocol.process.flags import dropped
from protocol.process.start_error import StartError

_STAGE_FLAG = "--disaggregation-mode"

_FETCHES = ("--multimodal-worker",)
"""Has a worker take what others made of pictures."""

_PARALLEL = (
    ("--tp-size", "--tp", "--tensor-parallel-size"),
    ("--pp-size", "--pp", "--pipeline-parallel-size"),
    ("--dp-size", "--dp", "--data-parallel-size"),
    ("--enable-dp-attention",),
)
"""Lists flags that are for engines of several GPUs, which one that encodes pictures is not."""

_ON_ONE_DEVICE = frozenset(("encode", "processor"))
"""Holds the kinds of workers that run on one GPU, or on none."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Wanted is what a person asks of `kvmesh up`.

    Attributes:
        whole, prefill, decode: workers that make all of an answer, or one leg of each; None where
        nothing was said.
        encode, process: workers that make vectors or pixels of pictures for those.
        simulated: they run the simulated engine, which needs no GPU.
        gpu_share: several may have the same GPU.
    """

    whole: int | None = None
    prefill: int | None = None
    decode: int | None = None
    encode: int = 0
    process: int = 0
    simulated: bool = False
    gpu_share: bool = False

    def workers(self) -> list["WantedWorker"]:
        """Returns the workers, those that run prompts first.

        Raises:
            StartError: one leg would have workers and the other none.
        """
        if bool(self.prefill) != bool(self.decode):
            raise StartError(
                "--prefill-workers and --decode-workers go together: each makes half of an answer"
            )
        whole = (0 if self.prefill else 1) if self.whole is None else self.whole
        pictures = _FETCHES if self.encode or self.process else ()
        kinds = (
            ("", whole, pictures),
            ("prefill", self.prefill or 0, (_STAGE_FLAG, "prefill", *pictures)),
            ("decode", self.decode or 0, (_STAGE_FLAG, "decode", *pictures)),
            ("encode", self.encode, ("--multimodal-encode-worker",)),
            ("processor", self.process, ("--multimodal-processor",)),
        )
        return [
            WantedWorker(kind, number, flags)
            for kind, count, flags in kinds
            for number in range(count)
        ]


@dataclass(frozen=True)
class WantedWorker:
    """A WantedWorker is one worker of those that a person asks for.

    Attributes:
        kind: of the workers that are numbered together; empty for whole ones.
        flags: that say what it is for.
    """

    kind: str
    number: int
    flags: tuple[str, ...]

    @property
    def label(self) -> str:
        """Returns what its id ends with, where there are several."""
        return f"{self.kind}-{self.number}" if self.kind else str(self.number)

    @property
    def name(self) -> str:
        """Returns by which name `kvmesh up` speaks of it."""
        return self.label if self.kind else f"worker-{self.label}"

    @property
    def needs_gpu(self) -> bool:
        """Tells whether a model, or a part of one, runs in it."""
        return self.kind != "processor"

    def argv(self, engine_argv: Sequence[str]) -> list[str]:
        """Returns what it is given of the arguments for all engines."""
        argv = list(engine_argv)
        if self.kind in _ON_ONE_DEVICE:
            for flags in _PARALLEL:
                argv = dropped(argv, *flags)
            in_file = EngineArguments(argv)
            argv += [
                word
                for flags in _PARALLEL
                if in_file.number(*flags) > 1
                for word in (flags[0], "1")
            ]
        return argv


@dataclass(frozen=True)
class PlannedWorker:
    """A PlannedWorker is a worker before its start.

    Attributes:
        name: by which `kvmesh up` speaks of it.
        worker_id: by which the mesh does.
        arguments: all that it is given besides what every worker is.
    """

    name: str
    worker_id: str
    arguments: tuple[str, ...]
    seat: Seat


def plan(wanted: Wanted, engine_argv: Sequence[str], *, gpus: int | None) -> list[PlannedWorker]:
    """Returns the workers that are to be started.

    Args:
        gpus: that an engine sees here; None where that cannot be told, or does not matter.
    Raises:
        StartError: they cannot be started as it is wanted.
    """
    workers = wanted.workers()
    named = EngineArguments(engine_argv)
    if wanted.prefill:
        _check_pools(wanted, named, gpus)
    ids, engine_argv = worker_names([worker.label for worker in workers], engine_argv)
    ports, engine_argv = system_ports(len(workers), engine_argv)
    placed = _placed(wanted, workers, named, gpus)
    return [
        PlannedWorker(
            worker.name,
            worker_id,
            (
                "--worker-id",
                worker_id,
                *worker.flags,
                *seat.arguments,
                *port,
                *worker.argv(engine_argv),
            ),
            seat,
        )
        for worker, worker_id, port, seat in zip(workers, ids, ports, placed, strict=True)
    ]


def _placed(
    wanted: Wanted, workers: Sequence[WantedWorker], named: EngineArguments, gpus: int | None
) -> list[Seat]:
    """Returns a seat for each worker; those that need no GPU come last and have none."""
    if wanted.simulated:
        return [Seat()] * len(workers)
    on_gpus = [worker for worker in workers if worker.needs_gpu]
    single = sum(worker.kind in _ON_ONE_DEVICE for worker in on_gpus)
    share = wanted.gpu_share
    taken = seats(len(on_gpus), named, gpus=gpus, share=share, single=single) if on_gpus else []
    return [*taken, *[Seat()] * (len(workers) - len(on_gpus))]


def _check_pools(wanted: Wanted, named: EngineArguments, gpus: int | None) -> None:
    if named.on_command_line(_STAGE_FLAG) is not None:
        raise StartError(
            f"--prefill-workers and --decode-workers set {_STAGE_FLAG}: leave it out behind --"
        )
    if not wanted.simulated and (gpus == 0 or named.told("--device") == "cpu"):
        raise StartError(
            "--prefill-workers and --decode-workers need GPUs: SGLang hands no KV cache over on a "
            "CPU; --engine sim shows how it works"
        )


def system_ports(count: int, engine_argv: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """Returns `--system-port` for each worker, counted up from that of `engine_argv` or
    DYN_SYSTEM_PORT, and the other arguments.

    A port is one worker's; 0 and -1 are good for all.
    """
    parser = argparse.ArgumentParser(prog="python -m workers", add_help=False, allow_abbrev=False)
    parser.add_argument("--system-port", default=os.environ.get("DYN_SYSTEM_PORT"))
    named, rest = parser.parse_known_args(engine_argv)
    if named.system_port is None:
        return [[] for _ in range(count)], rest
    text: str = named.system_port
    first = int(text) if text.isdecimal() else 0
    return [
        ["--system-port", str(first + number) if first else text] for number in range(count)
    ], rest


def worker_names(labels: Sequence[str], engine_argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns distinct names for workers with these labels, made of `--worker-id` or
    KVMESH_WORKER_ID where given, and the other arguments.
    """
    parser = argparse.ArgumentParser(prog="python -m workers", add_help=False, allow_abbrev=False)
    parser.add_argument(
        "--worker-id",
        default=os.environ.get("KVMESH_WORKER_ID")
        or f"{socket.gethostname()}-{secrets.token_hex(3)}",
    )
    named, rest = parser.parse_known_args(engine_argv)
    if len(labels) == 1:
        return [named.worker_id], rest
    return [f"{named.worker_id}-{label}" for label in labels], rest
