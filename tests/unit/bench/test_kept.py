import signal

from bench.gpu.kept import end_all, note, noted
from bench.kit.running import Running
from starter.process import start


def test_systems_are_found_again_while_they_run_and_ended_together(tmp_path):
    processes = [start(["sleep", "600"], tmp_path / f"{number}.log") for number in range(3)]
    front, behind, gone = (process.pid for process in processes)
    processes[2].kill()
    systems = [Running("whole", 1, front, [behind]), Running("broken", 2, front, [gone])]
    assert systems[0].leaders == [front, behind]
    note(systems, tmp_path / "kept" / "running.json")
    assert noted(tmp_path / "kept" / "running.json") == systems[:1]
    assert noted(tmp_path / "kept" / "running.json") == []
    end_all(systems)
    assert [process.popen.wait() for process in processes[:2]] == [-signal.SIGINT] * 2
