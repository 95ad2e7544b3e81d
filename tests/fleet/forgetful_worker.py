"""`python -m tests.fleet.forgetful_worker …`: a sim worker that dies when it is asked for what it
made.
"""

import os
import sys

from workers.app import run
from workers.mesh.outputs_part import OutputsPart


def _die(*_: object) -> None:
    os._exit(9)


if __name__ == "__main__":
    OutputsPart.fetch = _die  # type: ignore[method-assign]
    sys.exit(run(sys.argv[1:]))
