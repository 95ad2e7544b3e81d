"""`python -m tests.fleet.careless_worker …`: a sim worker that takes schemas and says whatever
comes, as an engine with a defect would.
"""

import sys

from protocol.replies import Failed
from workers.app import run
from workers.sim import engine


def _nothing(*_: object, **__: object) -> Failed | None:
    return None


if __name__ == "__main__":
    engine.refusal_of = _nothing
    sys.exit(run(sys.argv[1:]))
