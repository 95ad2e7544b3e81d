"""In which order test files begin, and which of them one process runs: what takes long begins
first, what shares an engine stays together, and what is short fills the end.
"""

from random import Random
from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

SGLANG_PROCESSES: Final = 2
"""An import takes as long as a small file's tests, and their engines keep two cores busy."""

FIRST: Final = (
    ("tests/fault/test_real_sglang_faults.py",),
    ("tests/fleet/test_kv_real_sglang.py",),
    (
        "tests/fleet/test_real_sglang.py",
        "tests/fleet/test_structured_output_real_sglang.py",
        "tests/fleet/test_surfaces_real_sglang.py",
    ),
    (
        "tests/fleet/test_pictures_real_sglang.py",
        "tests/fleet/test_videos_real_sglang.py",
        "tests/fleet/test_encoders_real_sglang.py",
    ),
    ("tests/sglang/test_diffusion.py",),
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
        "tests/sglang/test_grammar_trials.py",
    ),
    ("tests/fleet/test_made_of_pictures_real_sglang.py",),
    ("tests/fleet/test_demo_image.py",),
    ("tests/fleet/test_logprobs_real_sglang.py",),
    ("tests/fleet/test_trained_weights_real_sglang.py",),
    ("tests/fleet/test_engine_routes_real_sglang.py",),
    ("tests/fleet/test_engine_routes.py",),
    ("tests/fleet/test_adapters_real_sglang.py",),
    ("tests/fleet/test_sounds_real_sglang.py",),
    ("tests/fleet/test_text_diffusion_real_sglang.py",),
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

WITH_SGLANG: Final = (
    "tests/security/test_moved_calls.py",
    "tests/unit/demo_model/test_demo_model_golden.py",
    "tests/unit/demo_model/test_vision_golden.py",
)
"""Files that import it, or transformers, beside those whose names say so."""

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
    """Shuffle the files, and the tests of each file, which stay together; those that are marked as
    its last ones stay that, as they are ordered.
    """
    random, files = Random(seed), dict[str, list[pytest.Item]]()
    for item in items:
        files.setdefault(file_of(item.nodeid), []).append(item)
    shuffled = random.sample([*files.values()], len(files))
    items.clear()
    for tests in shuffled:
        last = [item for item in tests if item.get_closest_marker("last")]
        others = [item for item in tests if item not in last]
        items += random.sample(others, len(others)) + last


class GroupScheduling(LoadFileScheduling):
    """Hands the next group of files to the process that has nothing to do; those with SGLang to the
    first ones alone, since each imports it for itself.
    """

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        self._with_sglang = set[WorkerController]()

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        others = [scope for scope, tests in self.workqueue.items() if not any(map(_sglang, tests))]
        taken = len(self._with_sglang) >= SGLANG_PROCESSES and node not in self._with_sglang
        if taken and others:
            self.workqueue.move_to_end(others[0], last=False)
        if next(iter(self.workqueue)) not in others:
            self._with_sglang.add(node)
        super()._assign_work_unit(node)


def _sglang(nodeid: str) -> bool:
    """Whether a test takes a process that has imported SGLang."""
    return "sglang" in nodeid or file_of(nodeid) in WITH_SGLANG
