"""How many examples the state machines of KV events try: `KVMESH_EXAMPLES=N` makes it N times as
many.

KVMESH_EXAMPLES=100 python -m pytest tests/unit/kv_events -k Model --timeout 0    a nightly size, of
a quarter of an hour
"""

import os
from typing import Final

from hypothesis import settings

TIMES: Final = int(os.environ.get("KVMESH_EXAMPLES", "1"))


def examples(count: int, steps: int = 40) -> settings:
    """The settings of a state machine that tries `count` examples of `steps` steps by default."""
    return settings(max_examples=count * TIMES, stateful_step_count=steps, deadline=None)
