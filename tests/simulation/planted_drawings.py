"""Defects of one line in what makes pictures, planted by tests/simulation/breakages.py in worlds
that have them made.
"""

from typing import Final

from tests.simulation.planted import Breakage

DRAWING_BREAKAGES: Final = (
    # -- a worker that makes them
    Breakage(
        "drawings: the end of an order is not told",
        "complete(order.job_id, end)\n        self._tell(order.request_id, end)",
        "complete(order.job_id, end)",
    ),
    Breakage(
        "drawings: the end of a job is not noted",
        "            self._jobs.complete(order.job_id, end)",
        "            pass",
    ),
    Breakage(
        "drawings: who makes one order after the other seems to go on for ever",
        "                self._canaries.heard()\n        self._task = None",
        "                self._canaries.heard()",
    ),
    Breakage(
        "drawings: an order that is given up waits on",
        "        self._give_up(order)\n        order.end()\n",
        "        order.end()\n",
    ),
    Breakage(
        "drawings: a job that is asked for again is told under its old name",
        "order.request = replace(order.request, request_id=request.request_id)",
        "pass",
        unseen="needs a frontend that loses the way to a worker and finds it again in time",
    ),
    Breakage(
        "drawings: a worker that leaves takes new orders",
        "_HANDED_BACK if self._closed else self._line.refusal(order)",
        "self._line.refusal(order)",
        unseen="a frontend is told that a worker leaves before it asks it for anything more",
    ),
    # -- what was made
    Breakage(
        "drawings: more is kept than there is room for",
        "        if not self._has_room(size_bytes):\n            raise Overloaded(",
        "        if False:\n            raise Overloaded(",
        unseen="few pictures are fetched at once here, and all others make room",
    ),
    Breakage(
        "drawings: what was dropped still takes room",
        "            self._size_bytes -= kept.output.size_bytes\n",
        "            pass\n",
        unseen="few worlds make as much as is kept, and where they do, others have room",
    ),
)
