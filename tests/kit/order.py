"""In which order test files begin, and which of them one process runs: what takes long begins
first, what shares an engine stays together, and what is short fills the end.
"""

from random import Random
from typing import Final

import pytest
from xdist.scheduler import LoadFileScheduling

FIRST: Final = (
    ("tests/fault/test_real_sglang_faults.py",),
    ("tests/fleet/test_kv_real_sglang.py",),
    (
        "tests/fleet/test_real_sglang.py",
        "tests/fleet/test_structured_output_real_sglang.py",
        "tests/fleet/test_surfaces_real_sglang.py",
    ),
    ("tests/fleet/test_pictures_real_sglang.py", "tests/fleet/test_encoders_real_sglang.py"),
    ("tests/fleet/test_sglang_tokenizer.py",),
    (
        "tests/sglang/test_generation.py",
        "tests/sglang/test_faults_and_aborts.py",
        "tests/sglang/test_canaries.py",
        "tests/sglang/test_start.py",
        "tests/sglang/test_two_ranks.py",
        "tests/sglang/test_reading.py",
        "tests/sglang/test_seam.py",
        "tests/sglang/test_grammar_seam.py",
        "tests/sglang/test_step_faults.py",
        "tests/sglang/test_forks.py",
        "tests/sglang/test_decode_leg.py",
    ),
    ("tests/fleet/test_logprobs_real_sglang.py",),
    ("tests/fleet/test_adapters_real_sglang.py",),
    ("tests/fault/test_worker_real_sglang.py",),
    ("tests/sglang/test_grammar_thinking.py",),
    ("tests/fleet/test_embeddings_real_sglang.py",),
    ("tests/fleet/test_cross_encoder_real_sglang.py",),
    ("tests/fault/test_death.py",),
    ("tests/fault/test_rolling_restart.py",),
    ("tests/fleet/test_membership.py",),
    ("tests/fleet/test_kv_routing.py",),
    ("tests/fleet/test_up.py",),
)
"""Groups of files, the longest first. What is not named comes after them: it costs time if it is
long or could have shared an engine, and nothing else.
"""

LAST: Final = ("tests/simulation/test_simulation.py",)
"""Files whose tests share nothing: they are handed out one by one, so that all processes end
together.
"""

_GROUP: Final = {file: number for number, files in enumerate(FIRST) for file in files}
_PLACE: Final = {
    file: place for place, file in enumerate(file for files in FIRST for file in files)
}


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def group_of(nodeid: str) -> str:
    """The name of what one process runs of, without others in between."""
    file = file_of(nodeid)
    if file in LAST:
        return nodeid
    return f"group {_GROUP[file]}" if file in _GROUP else file


def in_order(items: list[pytest.Item]) -> None:
    """Sort tests by the place of their file; those of a file keep their order."""
    items.sort(
        key=lambda item: (
            file_of(item.nodeid) in LAST,
            _PLACE.get(file_of(item.nodeid), len(_PLACE)),
            item.get_closest_marker("sglang") is None,
        )
    )


def at_random(items: list[pytest.Item], seed: str) -> None:
    """Shuffle the files, and the tests of each file, which stay together."""
    random, files = Random(seed), dict[str, list[pytest.Item]]()
    for item in items:
        files.setdefault(file_of(item.nodeid), []).append(item)
    shuffled = random.sample([*files.values()], len(files))
    items[:] = [item for tests in shuffled for item in random.sample(tests, len(tests))]


class GroupScheduling(LoadFileScheduling):
    """Hands the next group of files to the process that has nothing to do."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
