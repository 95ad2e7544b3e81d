"""The process that makes pictures is asked, left, lost and started anew: with one that has no
SGLang.
"""

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from protocol.diffusion import Diffuse
from protocol.errors import InvalidRequest, WorkerLost
from protocol.process.start_error import StartError
from workers.diffusion.generator import Made, Step
from workers.sglang.diffusion import generator as generator_module
from workers.sglang.diffusion import kept_process, process
from workers.sglang.diffusion.generator import SglangGenerator
from workers.sglang.diffusion.mark import Mark
from workers.sglang.diffusion.messages import Setup

STUB = "tests.unit.workers.stub_generator"
MANY = 1_000
NEVER = 99


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_MODULE", STUB)
    monkeypatch.setattr(kept_process, "_PAUSE_S", 0.0)


class Generated:
    """A generator, and what it says."""

    def __init__(self, folder: Path, fails_from: int) -> None:
        self.starts, self.into = folder / "starts", folder / "into"
        self.into.mkdir()
        setup = Setup([str(self.starts), str(fails_from)], False, os.getpid())
        self.generator = SglangGenerator(setup)
        self.death: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.steps: asyncio.Queue[Step] = asyncio.Queue()
        self.freed = asyncio.Event()

    def make(self, prompt: str, steps: int = 2) -> "asyncio.Future[Any]":
        order = Diffuse(
            request_id="a" * 32, model="m", prompt=prompt, deadline_unix_ms=1, steps=steps
        )
        making = self.generator.make(order, self.into, self.steps.put_nowait, self.freed.set)
        return asyncio.ensure_future(making)

    def pids(self) -> list[int]:
        return [int(line) for line in self.starts.read_text().split()]


@pytest_asyncio.fixture
async def generated(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Generated]:
    made = Generated(tmp_path, getattr(request, "param", NEVER))
    facts = await made.generator.start(made.death.set_result)
    assert (facts.card.name, facts.card.aliases, facts.version) == ("one", ["two"], "stub")
    yield made
    children = psutil.Process().children(recursive=True)
    await made.generator.stop()
    await made.generator.stop()
    # those that its process has started too
    assert not [one.cmdline() for one in children if one.is_running() and _of_stub(one)]


def _of_stub(one: psutil.Process) -> bool:
    try:
        words = " ".join(one.cmdline())
    except psutil.NoSuchProcess:
        return False
    return STUB in words or "sleep(1000)" in words


async def test_an_order_is_made_and_told_step_by_step(generated: Generated) -> None:
    path = generated.into / "0.png"
    assert await generated.make("a cat", 3) == [Made(path, "png", 8, 8, 1, 0.0, 5)]
    assert path.read_bytes() == b"a cat"
    assert [generated.steps.get_nowait() for _ in range(3)] == [
        Step(step, 3, 0, None) for step in (1, 2, 3)
    ]
    with pytest.raises(InvalidRequest, match="Not that") as refused:
        await generated.make("refuse")
    assert refused.value.param == "width"
    await generated.generator.ready()


@pytest.mark.parametrize("slow", ["decode", "write"])
async def test_the_next_comes_behind_the_last_step_of_one(generated: Generated, slow: str) -> None:
    first = generated.make(f"{slow} slowly")
    await generated.freed.wait()
    (made,) = await generated.make("next", 3)
    assert made.path.parent == generated.into
    assert [generated.steps.get_nowait().step for _ in range(5)] == [1, 2, 1, 2, 3]
    assert len(await first) == 1


async def test_who_goes_while_it_is_written_leaves_nothing(generated: Generated) -> None:
    slow = generated.make("write slowly")
    await generated.freed.wait()
    slow.cancel()
    await generated.make("next")
    await generated.make("another")  # what it said of the first has been read before
    assert generated.generator._orders == {}


async def test_what_is_being_written_is_lost_with_its_process(generated: Generated) -> None:
    slow = generated.make("write slowly")
    await generated.freed.wait()
    with pytest.raises(WorkerLost):
        await generated.make("die")
    with pytest.raises(WorkerLost, match="ended with exit code 7"):
        await slow


async def test_what_is_left_tells_nothing_more_and_the_next_waits_for_it(
    generated: Generated,
) -> None:
    order = generated.make("slow", MANY)
    await generated.steps.get()
    order.cancel()
    with pytest.raises(asyncio.CancelledError):
        await order
    while not generated.steps.empty():
        generated.steps.get_nowait()
    (made,) = await generated.make("next")
    assert made.path.read_bytes() == b"next"
    assert generated.steps.qsize() == 2
    assert len(generated.pids()) == 1


async def test_a_process_that_does_not_leave_an_order_is_replaced(
    generated: Generated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator_module, "LEAVE_S_MAX", 0.05)
    order = generated.make("hang")
    await generated.steps.get()
    order.cancel()
    (made,) = await generated.make("next")
    assert made.path.read_bytes() == b"next"
    assert len(generated.pids()) == 2


async def test_an_order_that_ends_the_process_is_lost_and_the_next_is_made(
    generated: Generated,
) -> None:
    for _ in range(2):
        with pytest.raises(WorkerLost, match="ended with exit code 7") as lost:
            await generated.make("die")
        assert lost.value.cause == "died"
    await generated.make("next")
    pidfd = os.pidfd_open(generated.pids()[-1])
    os.kill(generated.pids()[-1], signal.SIGKILL)
    select.select([pidfd], [], [])
    os.close(pidfd)
    await generated.make("again")
    assert len(generated.pids()) == 4
    assert not generated.death.done()


@pytest.mark.parametrize("generated", [2], indirect=True)
async def test_a_process_that_cannot_be_started_again_is_a_death(generated: Generated) -> None:
    with pytest.raises(WorkerLost):
        await generated.make("die")
    assert await generated.death == "no memory is left"
    assert len(generated.pids()) == 1 + kept_process.STARTS_MAX


@pytest.mark.parametrize("generated", [2], indirect=True)
async def test_nobody_waits_long_for_what_does_not_come(
    generated: Generated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_process, "READY_S_MAX", 0.01)
    with pytest.raises(WorkerLost):
        await generated.make("die")
    with pytest.raises(WorkerLost, match="started anew"):
        await generated.generator.ready()


async def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    made = Generated(tmp_path, 1)
    with pytest.raises(StartError, match=r"^no memory is left$"):
        await made.generator.start(made.death.set_result)
    await made.generator.stop()


def test_a_file_of_arguments_is_read_while_it_is_there(tmp_path: Path) -> None:
    file = tmp_path / "section.yaml"
    file.write_text("num_gpus: 2")
    argv = ["--model-path", "m", "--config", str(file), "--lora-path", "x"]
    generator = SglangGenerator.from_argv(argv, videos=True)
    told = ["--model-path", "m", "--lora-path", "x"]
    assert generator._setup == Setup(told, True, os.getpid(), b"num_gpus: 2")
    file.unlink()
    with pytest.raises(StartError, match="No such file"):
        SglangGenerator.from_argv(argv, videos=True)


_WORKER = f"""
import asyncio, sys
from workers.sglang.diffusion import process
from workers.sglang.diffusion.generator import SglangGenerator
process._MODULE = {STUB!r}
async def main():
    generator = SglangGenerator.from_argv([sys.argv[1], "99"], videos=False)
    await generator.start(print)
    print("up", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_it_ends_with_its_worker(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(starts)], stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"up\n"
        child = psutil.Process(int(starts.read_text()))
        worker.kill()
        child.wait(60)  # its socket to the worker ends


def test_rank_0_decides_behind_which_step_all_leave(tmp_path: Path) -> None:
    mark = Mark.new(tmp_path / "mark")
    other = Mark(tmp_path / "mark")
    assert not mark.decide(1, 1)
    assert not other.decided(1, 1)
    mark.leave(1)
    assert mark.decide(1, 2)
    assert not other.decided(1, 1)  # one that is behind goes on, to where the others leave
    assert other.decided(1, 2)
    assert not mark.decide(2, 1)  # the next order
    assert not other.decided(2, 1)
    mark.leave(3)  # which has come, while the second is being decoded
    assert not mark.to_leave(2)


def test_sockets_have_room_for_their_names(tmp_path: Path) -> None:
    directory = process._directory_in(process.process_directory())[0]
    assert len(str(directory / "scheduler")) < 100
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as steps:
        steps.bind(str(directory / "steps"))
