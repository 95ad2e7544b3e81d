"""What a long prompt takes of a frontend's memory is given back, seen from outside."""

from pathlib import Path

from starter.addresses import worker_command
from starter.process import Process
from tests.kit.fleet import Fleet

WORDS = 120_000


def _threads(process: Process) -> int:
    return len(list(Path(f"/proc/{process.pid}/task").iterdir()))


def _files_in_memory(process: Process) -> str:
    return Path(f"/proc/{process.pid}/maps").read_text()


def test_a_long_prompt_leaves_no_thread_and_loads_no_library_that_others_do_without(
    fleet: Fleet,
) -> None:
    # The real command: a fork has what any other frontend of the tests needs.
    frontend = fleet.launch("frontend", fleet.addresses.frontend_command())
    options = ("--engine", "sim", "--served-model-name", "demo", "--context-length", "1000000")
    fleet.launch("worker", worker_command([fleet.mesh], *options, "--sim-speedup", "0"))
    fleet.wait_for_workers(1)
    with fleet.client() as client:

        def tokens_of(text: str) -> int:
            answer = client.chat.completions.create(
                model="demo", messages=[{"role": "user", "content": text}], max_tokens=1
            )
            assert answer.usage is not None
            return answer.usage.prompt_tokens

        tokens_of("a short one")
        before = _threads(frontend)
        assert tokens_of("many words, and " * (WORDS // 3)) > WORDS
        fleet.wait_until(lambda: _threads(frontend) <= before, "its threads have ended")
    files = _files_in_memory(frontend)
    assert "fastokens" in files
    assert "numpy" not in files
    assert "tokenizers.abi3" not in files
