"""Steps of a rank are told by datagrams, of which the kernel holds few."""

import socket
from pathlib import Path
from threading import Thread

import pytest

from workers.sglang.diffusion.mark import Mark
from workers.sglang.diffusion.messages import (
    MARK_FILE,
    STEPS_SOCKET,
    File,
    Stepped,
    Told,
    decode_step,
)

steps_module = pytest.importorskip("workers.sglang.diffusion.steps")  # tqdm comes with SGLang

SHOWN = File("preview.png", "png", 8, 8, 1, 0.0, 0)
MANY = 1_000
"""More than the kernel holds unread."""


def test_a_preview_waits_for_a_worker_that_is_behind(tmp_path: Path) -> None:
    Mark.new(tmp_path / MARK_FILE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as worker:
        worker.bind(str(tmp_path / STEPS_SOCKET))
        worker.settimeout(10)
        steps = steps_module.Steps(tmp_path, 0)
        steps.begin(Told(1, 0, str(tmp_path), "png"))
        for done in range(1, MANY):
            steps.passed(done, MANY)
        heard: list[Stepped] = []

        def read() -> None:
            while not heard or heard[-1].preview is None:
                heard.append(decode_step(worker.recv(4_096)))

        reader = Thread(target=read)
        reader.start()
        steps.preview = SHOWN
        steps.passed(MANY, MANY)
        reader.join()
        steps._socket.close()
    assert heard[-1] == Stepped(1, 0, MANY, MANY, SHOWN)
    assert len(heard) < MANY  # the others were left out, and nobody waited
