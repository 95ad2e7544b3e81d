"""Pictures and videos are made by this program, which has SGLang's DiffGenerator: that blocks and
prints, and there can be one in a process.

Its stdin is a socket to the worker: in, `Setup` and `Make`s; out, a `Reply` to each. Pictures are
written in threads, while the next ones are made. What it and SGLang's processes print goes to the
worker's log. It ends with the worker, and its ranks with it.
"""

import os
import signal
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, BinaryIO, Final

from msgspec import Struct

from protocol.errors import EngineFault, InvalidRequest
from protocol.process.frames import framed
from protocol.process.parent_death import end_with_parent
from protocol.process.start_error import StartError
from workers.process.failure_note import FailureNote, one_line
from workers.process.watch import in_words
from workers.sglang.children import outlive_signals
from workers.sglang.cpu import activate_if_cpu_host
from workers.sglang.decoding.messages import read
from workers.sglang.diffusion.mark import Mark
from workers.sglang.diffusion.messages import (
    CONFIG_FILE,
    DIRECTORY,
    MARK_FILE,
    Ended,
    File,
    Finished,
    Freed,
    Make,
    Refused,
    Setup,
    Told,
    Up,
)
from workers.sglang.model_files import served_names


class _Worker:
    """A _Worker is the other end of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.said: BinaryIO = connection.makefile("rb")
        self._connection = connection
        self._one_at_a_time = threading.Lock()

    def tell(self, reply: Struct) -> None:
        with self._one_at_a_time:
            self._connection.sendall(framed(reply))

    def end(self, reason: str) -> None:
        """Tells why this process ends, and ends it."""
        try:
            self.tell(Ended(reason))
        finally:
            os._exit(1)


WRITERS: Final = 2
"""So many threads write pictures: one takes a tenth of a second for a megapixel, which is less than
a GPU takes to make it.
"""

FRAMES_WAITING_MAX: Final = 4
"""At most so many pictures are in memory to be written, 50 MB each at the largest."""


class _Maker:
    """A _Maker makes what orders ask for, one after the other."""

    def __init__(self, server_args: Any, directory: Path, worker: _Worker) -> None:
        from workers.sglang.diffusion.told_generator import FailureHeard, TellingGenerator  # noqa: PLC0415

        self._server_args = server_args
        self._directory = directory
        self._worker = worker
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="writer")
        self._room = threading.Semaphore(FRAMES_WAITING_MAX)
        self._mark = Mark(directory / MARK_FILE)
        self._heard = FailureHeard()
        self._generator: Any = TellingGenerator.from_server_args(server_args)

    @property
    def ranks(self) -> Sequence[Any]:
        """Returns multiprocessing's processes of the ranks."""
        return self._generator.local_scheduler_process

    def answer(self, make: Make) -> None:
        """Makes the outputs of an order, or says why not; returns when the next one can be made."""
        try:
            files = self._files(make)
        except Exception as error:  # noqa: BLE001  # whatever SGLang raises
            self._worker.tell(self._refusal(make, error))
            return
        self._worker.tell(Freed(make.number))
        # Whatever it waits for was given to the threads before, and so has begun.
        self._writers.submit(self._finish, make, files)

    def _finish(self, make: Make, files: list["Future[File]"]) -> None:
        """Tells the worker of the outputs of an order once they are written."""
        try:
            reply = Finished(make.number, [file.result() for file in files])
        except Exception as error:  # noqa: BLE001  # whatever a file system raises
            reply = self._refusal(make, error)
        self._worker.tell(reply)

    def _refusal(self, make: Make, error: Exception) -> Refused:
        if isinstance(error, InvalidRequest):
            return Refused(make.number, error.code, error.message, error.param)
        if self._mark.to_leave(make.number):
            return Refused(make.number, "")
        return Refused(make.number, EngineFault.code, one_line(error))

    def _files(self, make: Make) -> list["Future[File]"]:
        from workers.sglang.diffusion.orders import plan_of, reference_files  # noqa: PLC0415

        order = make.order
        with reference_files(order, self._directory) as references:
            plan = plan_of(order, references, self._server_args)
            return [
                self._one(make, index, plan.sampling, plan.seed(index))
                for index in range(order.count)
            ]

    def _one(self, make: Make, index: int, sampling: dict[str, Any], seed: int) -> "Future[File]":
        from workers.sglang.diffusion.files import picture_file, video_file  # noqa: PLC0415

        order, into = make.order, Path(make.into)
        if self._mark.to_leave(make.number):
            raise EngineFault("the order was left")
        self._generator.told = Told(
            make.number,
            index,
            make.into,
            order.format,
            order.previews,
            order.compression,
            order.guidance_scale,
        )
        name = f"{index}.{order.format}"
        videos = order.format == "mp4"
        kept = (
            {"save_output": True, "output_path": make.into, "output_file_name": name}
            if videos
            else {"save_output": False, "return_frames": True}
        )
        self._heard.cause = ""
        made: Any = self._generator.generate({**sampling, **kept, "seed": seed})
        if made is None:
            raise EngineFault(self._heard.cause or "SGLang made nothing, and did not say why.")
        first: Any = made[0] if hasattr(made, "append") else made  # a list of several
        if videos:
            return self._writers.submit(video_file, into / name, seed)
        self._room.acquire()
        written = self._writers.submit(
            picture_file, first.frames[0], into / name, order.format, order.compression, seed
        )
        written.add_done_callback(lambda _: self._room.release())
        return written


def main() -> None:
    """Serves until the worker is gone."""
    worker = _Worker(socket.socket(fileno=os.dup(0)))
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)  # or whatever is started would have the socket too
    setup = read(worker.said, Setup)
    if not end_with_parent(setup.worker_pid, signal.SIGKILL):
        return
    outlive_signals()
    note = FailureNote()
    try:
        maker, up = _loaded(setup, worker)
    except StartError as error:
        worker.end(str(error))
        raise
    except BaseException as error:  # SGLang ends some failures by SystemExit
        worker.end(note.read() or one_line(error))
        raise
    threading.Thread(target=_watch, args=(maker.ranks, worker, note), daemon=True).start()
    worker.tell(up)
    while True:
        try:
            make = read(worker.said, Make)
        except EOFError:
            os._exit(0)
        maker.answer(make)


def _loaded(setup: Setup, worker: _Worker) -> tuple[_Maker, Up]:
    """Returns what makes pictures, once its model is loaded.

    Raises:
        StartError: an argument is wrong.
    """
    cpu = activate_if_cpu_host(setup.argv)
    from workers.sglang.cpu.spares import fork_spares, spares_until_then  # noqa: PLC0415
    from workers.sglang.diffusion.arguments import make_ready, parse_generator_args  # noqa: PLC0415
    from workers.sglang.diffusion.scheduler_address import meet_in_files  # noqa: PLC0415
    from workers.sglang.seam.checks import check_seam  # noqa: PLC0415
    from workers.sglang.seam.diffusion_table import DIFFUSION  # noqa: PLC0415

    make_ready(cpu)
    check_seam(DIFFUSION)
    directory, argv = Path(os.environ[DIRECTORY]), setup.argv
    if setup.config:
        (directory / CONFIG_FILE).write_bytes(setup.config)
        argv = [*argv, "--config", str(directory / CONFIG_FILE)]
    server_args = parse_generator_args(argv, videos=setup.videos, cpu=cpu)
    meet_in_files(directory)
    if cpu:
        fork_spares(server_args.num_gpus)
    import sglang  # noqa: PLC0415

    with spares_until_then():
        maker = _Maker(server_args, directory, worker)
    device = "cpu" if cpu else f"{server_args.num_gpus} GPU"
    pipeline = type(server_args.pipeline_config).__name__.removesuffix("Config")
    version = f"sglang {sglang.__version__} {pipeline} on {device}"
    served = str(server_args.served_model_name or server_args.model_path)
    return maker, Up(served_names(served), version, [rank.pid for rank in maker.ranks])


def _watch(ranks: Sequence[Any], worker: _Worker, note: FailureNote) -> None:
    """Ends this process with the first rank that ends, for which SGLang would wait for ever."""
    sentinels = {rank.sentinel: rank for rank in ranks}
    ended = sentinels[wait([*sentinels])[0]]
    ended.join()
    why = note.read()
    what = f"SGLang's {ended.name} {in_words(ended.exitcode)}"
    worker.end(f"{what}: {why}" if why else what)


if __name__ == "__main__":
    main()
