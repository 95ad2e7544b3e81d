"""Real processes that end in every way."""

import asyncio
import signal
import subprocess
import sys

import uvloop

from workers.process.watch import ProcessWatch, in_words

SLEEP = [sys.executable, "-c", "input()"]


def _started(*code: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(list(code) or SLEEP, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def _ends() -> None:
    ended: asyncio.Queue[tuple[str, int | None]] = asyncio.Queue()
    watch = ProcessWatch(lambda name, code: ended.put_nowait((name, code)))
    killed, left = _started(), _started()
    family = _started("/bin/sh", "-c", "sleep 1000 & echo $!; read _")
    assert family.stdout is not None
    grandchild = int(family.stdout.readline())
    gone = _started("/bin/true")
    gone.wait()
    watch.add({killed.pid: "killed", left.pid: "left", grandchild: "grandchild", gone.pid: "gone"})
    assert await ended.get() == ("gone", None)
    killed.kill()
    assert await ended.get() == ("killed", -signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL  # it was not reaped by the watch
    assert left.stdin is not None
    left.stdin.close()
    assert await ended.get() == ("left", left.wait())
    subprocess.run(["kill", "-9", str(grandchild)], check=True)
    assert await ended.get() == ("grandchild", None)  # its parent knows how, we do not
    family.communicate(b"\n")
    for process in (killed, left, gone):
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def test_processes_are_noticed_when_they_end_children_or_not() -> None:
    uvloop.run(_ends())


async def test_a_closed_watch_says_nothing() -> None:
    ended: list[str] = []
    watch = ProcessWatch(lambda name, _: ended.append(name))
    process = _started()
    watch.add({process.pid: "it"})
    watch.close()
    process.kill()
    process.communicate()
    await asyncio.sleep(0.05)
    assert ended == []


def test_ends_are_told_in_words() -> None:
    assert [in_words(code) for code in (None, -9, 1)] == [
        "ended",
        "was killed by signal 9",
        "ended with exit code 1",
    ]
