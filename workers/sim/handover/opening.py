"""The legs of a simulated engine are opened as its settings ask."""

from collections.abc import Callable
from functools import partial

from protocol.generation import Generate
from protocol.replies import Failed
from protocol.transport.curve import MeshKey
from workers.sim.faults import Faults
from workers.sim.handover.decode import DecodeLegs
from workers.sim.handover.legs import Legs
from workers.sim.handover.prefill import PrefillLegs, transfer_s
from workers.sim.handover.ways import Meetings, SocketMeetings
from workers.sim.ranks import Ranks
from workers.sim.settings import SimSettings
from workers.sim.telling import Telling

OpenMeetings = Callable[[SimSettings], Meetings]
"""Opens the ways by which engines reach each other."""


def meetings_of(settings: SimSettings, key: MeshKey | None = None) -> Meetings:
    """Returns the ways by which engines reach each other over ZMQ, also of other hosts if there is
    the mesh's key.
    """
    return SocketMeetings(
        settings.host,
        settings.disaggregation_bootstrap_port,
        None if key is None else key.for_another_context(),
    )


def open_legs(  # noqa: PLR0917 - each once, and each of its own type
    settings: SimSettings,
    open_meetings: OpenMeetings,
    faults: Faults,
    ranks: Ranks,
    run: Callable[[Generate], None],
    abort: Callable[[str], None],
    telling: Telling,
) -> Legs | None:
    """Returns what keeps the legs of an engine's requests; None where it runs whole requests.

    Raises:
        StartError: its port is taken.
    """
    if settings.disaggregation_mode == "null":
        return None
    meetings = open_meetings(settings)
    if settings.disaggregation_mode == "prefill":
        return PrefillLegs(
            meetings,
            faults,
            run=run,
            abort=abort,
            deliver=telling.soon,
            send_s=partial(transfer_s, settings),
            wait_s=settings.sim_handover_wait_s,
        )

    def fail(request_id: str, failure: Failed) -> None:
        for delta in ranks.fail(request_id, failure):
            telling.soon(delta)

    wait_s = settings.sim_handover_wait_s
    legs = DecodeLegs(meetings, begin=ranks.begin, fail=fail, wait_s=wait_s)
    for scheduler in ranks.schedulers:
        scheduler.on_reserved = legs.reserved
    return legs
