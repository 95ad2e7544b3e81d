"""The limit of open files, in a process of its own since it can only be lowered once."""

import subprocess
import sys

import pytest

SHOW = """
import resource
from protocol.process.open_files import raise_open_files, too_few
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
raised, now = raise_open_files(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
print(raised, now, too_few(raise_open_files()))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "said"), [(256, 512, "; at most 512 open files"), (256, 4_096, "")]
)
def test_the_soft_limit_becomes_the_hard_one_and_a_low_one_is_said(
    soft: int, hard: int, said: str
) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", SHOW.format(soft=soft, hard=hard)],
        capture_output=True,
        text=True,
        check=True,
    )
    raised, holds, *words = shown.stdout.split(" ", 2)
    assert (int(raised), int(holds)) == (hard, hard)
    assert "".join(words).strip().startswith(said)
    assert bool("".join(words).strip()) == bool(said)
