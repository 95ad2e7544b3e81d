"""How a worker leaves: in peace, in time, in a hurry, or because its engine died.

Seen by a frontend written by hand.
"""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from protocol.generation import Finished
from protocol.membership import Draining, Goodbye, Heartbeat, Loading
from protocol.replies import Failed, StepBatch
from tests.fault.mesh_peer import FrontendPeer
from tests.fault.system_pages import worker_with_pages
from tests.kit.fleet import Fleet
from workers.process.departure import EXIT_ENGINE_DIED

SOME_SECONDS = 200
MINUTES = 20_000
LONG = ("--context-length", "32768")


@pytest.fixture
def peer(fleet: Fleet) -> FrontendPeer:
    with FrontendPeer(fleet.mesh) as peer:
        yield peer


def _streaming(peer: FrontendPeer, max_new_tokens: int) -> str:
    """A request that has begun to stream."""
    peer.wait_for(Heartbeat)
    request_id = peer.generate(1, max_new_tokens=max_new_tokens)
    peer.wait_for(StepBatch)
    return request_id


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_leaves_at_once_and_says_so(
    fleet: Fleet, peer: FrontendPeer, number: int
) -> None:
    # canaries are nothing to wait for
    worker, _ = worker_with_pages(fleet, "--canary-wait-time", "0.1")
    peer.wait_for(Heartbeat)
    worker.popen.send_signal(number)
    assert peer.wait_for(Draining)
    assert peer.wait_for(Goodbye) == Goodbye("the worker was stopped")
    assert worker.popen.wait(10) == 0
    assert worker.children_left() == []


def test_what_runs_is_finished_while_probes_say_draining(fleet: Fleet, peer: FrontendPeer) -> None:
    worker, pages = worker_with_pages(fleet, *LONG)
    running = _streaming(peer, SOME_SECONDS)
    worker.popen.send_signal(signal.SIGTERM)
    peer.wait_for(Draining)
    late = peer.generate(2, max_new_tokens=1)
    refused = peer.end_of(late).end
    assert isinstance(refused, Failed)
    assert refused.code == "no_worker"
    fleet.wait_until(
        lambda: pages.get("/ready") == (503, {"status": "not ready", "reasons": ["draining"]}),
        "draining",
    )
    assert (pages.status("/live"), pages.get("/health")[1]["phase"]) == (200, "draining")
    assert pages.metric("kvmesh_worker_draining") == 1
    assert isinstance(peer.end_of(running).end, Finished)
    assert peer.tokens_of(running) == SOME_SECONDS
    peer.wait_for(Goodbye)
    assert worker.popen.wait(30) == 0


def test_in_the_grace_period_requests_are_still_taken_and_nobody_leaves(
    fleet: Fleet, peer: FrontendPeer
) -> None:
    worker, _ = worker_with_pages(fleet, "--graceful-shutdown-grace-period-secs", "2")
    peer.wait_for(Heartbeat)
    begun_at = time.monotonic()
    worker.popen.send_signal(signal.SIGTERM)
    peer.wait_for(Draining)
    assert isinstance(peer.end_of(peer.generate(1, max_new_tokens=2)).end, Finished)
    peer.wait_for(Goodbye)
    assert time.monotonic() - begun_at >= 2
    assert worker.popen.wait(30) == 0


def test_past_the_deadline_the_worker_leaves_anyway(fleet: Fleet, peer: FrontendPeer) -> None:
    worker, _ = worker_with_pages(fleet, "--graceful-shutdown-timeout-secs", "1", *LONG)
    running = _streaming(peer, MINUTES)
    worker.popen.send_signal(signal.SIGTERM)
    goodbye = peer.wait_for(Goodbye)
    assert goodbye.planned
    assert worker.popen.wait(30) == 0
    ends = [
        delta.end
        for message in peer.heard
        if isinstance(message, StepBatch)
        for delta in message.deltas
        if delta.request_id == running
    ]
    assert not any(ends)  # the frontend moves it; it did not fail
    assert "leaving with 1 requests unfinished" in worker.output()


@pytest.mark.parametrize(
    "numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)]
)
def test_a_second_signal_ends_it_now(
    fleet: Fleet, peer: FrontendPeer, numbers: tuple[int, int]
) -> None:
    worker, _ = worker_with_pages(fleet, *LONG)
    _streaming(peer, MINUTES)
    worker.popen.send_signal(numbers[0])
    peer.wait_for(Draining)
    worker.popen.send_signal(numbers[1])
    peer.wait_for(Goodbye)
    assert worker.popen.wait(10) == 128 + numbers[1]
    assert worker.children_left() == []


@pytest.mark.parametrize("draining", [False, True], ids=["serving", "draining"])
def test_an_engine_that_dies_is_told_to_the_frontends(
    fleet: Fleet, peer: FrontendPeer, draining: bool
) -> None:
    worker, _ = worker_with_pages(fleet, "--sim-fault", "engine-death-after-tokens=100", *LONG)
    running = _streaming(peer, MINUTES)
    if draining:
        worker.popen.send_signal(signal.SIGTERM)
    goodbye = peer.wait_for(Goodbye)
    assert goodbye == Goodbye("the simulated engine died", planned=False)
    assert worker.popen.wait(30) == EXIT_ENGINE_DIED
    assert peer.tokens_of(running) == 100


def test_a_signal_while_the_engine_loads_ends_it_there_and_then(fleet: Fleet) -> None:
    worker, pages = worker_with_pages(fleet, "--sim-startup-s", "1000")
    fleet.wait_until(lambda: pages.status("/live") == 200, "it loads")
    worker.popen.send_signal(signal.SIGTERM)
    assert worker.popen.wait(30) == -signal.SIGTERM


CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")
"""A process id namespace, as a container has: the kernel spares its first process every signal that
it has no handler for.
"""


@pytest.mark.skipif(
    subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode != 0,
    reason="no namespaces here",
)
def test_the_first_process_of_a_container_ends_while_it_loads(
    fleet: Fleet, peer: FrontendPeer
) -> None:
    arguments = ("--engine", "sim", "--frontend", fleet.mesh, "--sim-startup-s", "600")
    container = fleet.launch("container", [*CONTAINER, sys.executable, "-m", "workers", *arguments])
    peer.wait_for(Loading)
    (worker,) = psutil.Process(container.pid).children()
    worker.send_signal(signal.SIGTERM)
    assert container.popen.wait(30) == 128 + signal.SIGTERM
