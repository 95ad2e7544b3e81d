"""Freeze and death of a worker with real SGLang on the demo model, seen by a
frontend written by hand.
"""

import psutil
import pytest

from protocol.generation import Finished
from protocol.membership import Goodbye, Heartbeat, Hello
from protocol.replies import StepBatch
from starter.ports import free_port
from starter.process import Process
from tests.fault.mesh_peer import FrontendPeer
from tests.fault.system_pages import SystemPages
from tests.kit.fleet import Fleet
from workers.process.departure import EXIT_ENGINE_DIED

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]

START_S_MAX = 300
WARM_UP_REQUESTS = 3
"""Of a rank, before the worker says Hello."""
SMALL = ("--max-running-requests", "4", "--max-total-tokens", "8192", "--served-model-name", "demo")


def _worker(fleet: Fleet, *arguments: str) -> tuple[Process, SystemPages]:
    port = free_port()
    worker = fleet.forked_worker("--system-port", str(port), *SMALL, *arguments)
    return worker, SystemPages(port)


def _scheduler(worker: Process) -> psutil.Process:
    (scheduler,) = [
        child
        for child in psutil.Process(worker.popen.pid).children(recursive=True)
        if "scheduler" in child.name()
    ]
    return scheduler


def _streaming(peer: FrontendPeer, number: int, max_new_tokens: int) -> str:
    request_id = peer.generate(number, max_new_tokens=max_new_tokens)
    peer.wait_for(StepBatch)
    return request_id


def test_a_frozen_scheduler_is_unhealthy_until_it_goes_on_and_a_killed_one_is_the_end(
    fleet: Fleet,
) -> None:
    with FrontendPeer(fleet.mesh) as peer:
        dumps = fleet.directory / "dumps"
        worker, pages = _worker(
            fleet, "--health-check-request-timeout", "2", "--crash-dump-folder", str(dumps)
        )
        peer.wait_for(Hello, wait_s_max=START_S_MAX)
        scheduler = _scheduler(worker)
        first = _streaming(peer, 1, 500)
        scheduler.suspend()
        complaint = peer.wait_for(Heartbeat, lambda beat: bool(beat.unhealthy)).unhealthy
        assert complaint.startswith("rank 0 has not answered for 2.")
        assert pages.status("/ready") == 503
        scheduler.resume()
        assert isinstance(peer.end_of(first).end, Finished)
        assert peer.tokens_of(first) == 500
        peer.wait_for(Heartbeat, lambda beat: not beat.unhealthy)

        _streaming(peer, 2, 2_000)
        scheduler.kill()
        goodbye = peer.wait_for(Goodbye)
        assert not goodbye.planned
        assert goodbye.reason == "SGLang's scheduler was killed by signal 9"
        assert worker.popen.wait(30) == EXIT_ENGINE_DIED
        assert worker.children_left() == []
        finished = 1 + WARM_UP_REQUESTS
        assert (
            f"Dumped {finished} finished and 1 unfinished requests before crash" in worker.output()
        )
        (dump,) = dumps.rglob("*.pkl")
        assert b"workers.sglang" not in dump.read_bytes()  # of SGLang's classes alone
