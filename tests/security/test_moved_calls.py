"""A worker that goes on with an answer, which its model was made to say, reads it without standing
still.
"""

import json
from pathlib import Path

import pytest

from protocol.limits import WORKER_SILENT_S_MAX
from tests.kit.forks import run_with_sglang

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(300)]

HERE = Path(__file__).parent


def test_no_answer_takes_a_worker_more_than_a_moment_to_read() -> None:
    """For each of them it was silent for 10 s to hours, and given up by its frontends."""
    done = run_with_sglang(HERE / "moved_calls.py")
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout.splitlines()[-1])
    assert results
    for name, (longest_s, all_s, told) in results.items():
        assert longest_s < WORKER_SILENT_S_MAX / 2, (name, longest_s)
        assert all_s < 5, (name, all_s)
        assert told, name
