"""A frontend whose name server is slow and an attacker's: `python -m bench.attacks.turning_names
ARGUMENTS OF THE FRONTEND`.

Names below `hostile.TURNING` mean an admitted address and one inside the house by turns, and each
answer takes a second.
"""

import itertools
import socket
import time
from typing import Any, Final

from bench.attacks.hostile import HOSTILE, HOUSE, TURNING
from frontend.__main__ import main

LOOK_UP_S: Final = 1.0
_turns = itertools.cycle((HOSTILE, HOUSE))
_look_up = socket.getaddrinfo


def _turning(host: Any, *rest: Any, **options: Any) -> list[Any]:
    if isinstance(host, str) and host.endswith(f".{TURNING}"):
        time.sleep(LOOK_UP_S)
        host = next(_turns)
    return list(_look_up(host, *rest, **options))


if __name__ == "__main__":
    socket.getaddrinfo = _turning
    raise SystemExit(main())
