import sys

from bench.kit import usage
from starter.process import start
from starter.waiting import wait_until

BURN = (
    "import signal, time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: "
    "pass\nsignal.pause()"
)
PARENT = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}])"


def test_cpu_and_memory_include_children(tmp_path):
    with start([sys.executable, "-c", PARENT], tmp_path / "log") as parent:
        wait_until(lambda: usage.cpu_s(parent.pid) >= 0.3, "it has burnt", [parent])
        family = usage.descendants(parent.pid)
        assert len(family) == 2
        assert usage.rss_mib(parent.pid) > usage.pss_mib(parent.pid) * 0.9 > 0
        assert usage.peak_rss_mib(parent.pid) > 1
