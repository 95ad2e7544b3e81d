"""Run in place of workers.sglang.diffusion.program, without SGLang: its arguments and prompts say
how it behaves.

Arguments: a file to which each start adds a line, and the number of the start, counted from 1, from
which on it cannot start.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from protocol.errors import InvalidRequest
from protocol.process.frames import framed
from workers.sglang.decoding.messages import read
from workers.sglang.diffusion.mark import Mark
from workers.sglang.diffusion.messages import (
    DIRECTORY,
    MARK_FILE,
    STEPS_SOCKET,
    Ended,
    File,
    Finished,
    Freed,
    Make,
    Refused,
    Reply,
    Setup,
    Stepped,
    Up,
    encode_step,
)

NAP_S = 0.002


def main() -> None:
    connection = socket.socket(fileno=os.dup(0))
    said = connection.makefile("rb")
    starts, fails_from = read(said, Setup).argv
    with Path(starts).open("a") as file:
        file.write(f"{os.getpid()}\n")
    if len(Path(starts).read_text().splitlines()) >= int(fails_from):
        connection.sendall(framed(Ended("no memory is left")))
        return
    print("it prints")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    connection.sendall(framed(Up(["one", "two"], "stub", [child.pid])))
    directory = Path(os.environ[DIRECTORY])
    mark, steps = Mark(directory / MARK_FILE), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    steps.connect(str(directory / STEPS_SOCKET))
    behind: Reply | None = None
    while True:
        make = read(said, Make)
        reply = answer(make, mark, steps)
        if make.order.prompt in ("write slowly", "decode slowly"):  # until the next one is made
            if make.order.prompt == "write slowly":
                connection.sendall(framed(Freed(make.number)))
            behind = reply
            continue
        for each in (reply, behind) if behind else (reply,):
            connection.sendall(framed(each))
        behind = None


def answer(make: Make, mark: Mark, steps: socket.socket) -> Reply:
    order = make.order
    for step in range(1, order.steps + 1):
        steps.send(encode_step(Stepped(make.number, 0, step, order.steps)))
        if order.prompt == "die":
            os._exit(7)
        if order.prompt == "slow":
            time.sleep(NAP_S)
        while order.prompt == "hang":
            time.sleep(1)
        if mark.to_leave(make.number):
            return Refused(make.number, "")
    if order.prompt == "refuse":
        return Refused(make.number, InvalidRequest.code, "Not that.", "width")
    name = f"0.{order.format}"
    (Path(make.into) / name).write_bytes(order.prompt.encode())
    return Finished(make.number, [File(name, order.format, 8, 8, 1, 0.0, 5)])


if __name__ == "__main__":
    main()
