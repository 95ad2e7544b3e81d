import os
import select
import sys

import pytest

from bench.kit import processes
from bench.kit.processes import Process

BURN = (
    "import signal, time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: "
    "pass\nsignal.pause()"
)
PARENT = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}])"


def test_cpu_and_memory_include_children_and_stop_ends_them(tmp_path):
    with Process("parent", [sys.executable, "-c", PARENT], tmp_path / "log") as parent:
        parent.wait_ready(lambda: processes.cpu_s(parent.pid) >= 0.3, timeout_s=60)
        family = processes.descendants(parent.pid)
        assert len(family) == 2
        assert processes.rss_mib(parent.pid) > processes.pss_mib(parent.pid) * 0.9 > 0
        assert processes.peak_rss_mib(parent.pid) > 1
    for pid in family:
        assert _ends(pid)


def _ends(pid):
    """Whether a process that was killed is dead: the kernel takes its time on a busy machine."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 30)[0])
    finally:
        os.close(descriptor)


def test_a_process_that_ends_while_starting_is_reported_with_its_log(tmp_path):
    with (
        Process(
            "broken", [sys.executable, "-c", "raise SystemExit('no such flag')"], tmp_path / "log"
        ) as broken,
        pytest.raises(RuntimeError, match=r"(?s)broken ended while starting.*no such flag"),
    ):
        broken.wait_ready(lambda: False)
