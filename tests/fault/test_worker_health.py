"""A worker whose engine freezes says so, gets no work, and comes back by itself; its system pages
tell the truth meanwhile.
"""

import threading

import openai
import pytest

from protocol.membership import Heartbeat
from protocol.process.start_error import EXIT_CANNOT_START
from tests.fault.mesh_peer import FrontendPeer
from tests.fault.system_pages import worker_with_pages
from tests.kit.fleet import Fleet

QUICK = ("--health-check-request-timeout", "1", "--canary-wait-time", "1")


def test_an_engine_that_freezes_in_mid_stream_is_unhealthy_and_recovers(fleet: Fleet) -> None:
    freeze = ("--sim-fault", "hang-s=6", "--sim-fault", "hang-after-tokens=10")
    with FrontendPeer(fleet.mesh) as peer:
        _, pages = worker_with_pages(fleet, *QUICK, *freeze)
        peer.wait_for(Heartbeat, lambda beat: not beat.unhealthy)
        fleet.wait_until(lambda: pages.status("/ready") == 200, "ready")
        request_id = peer.generate(1, max_new_tokens=30)
        complaint = peer.wait_for(Heartbeat, lambda beat: bool(beat.unhealthy)).unhealthy
        assert complaint.startswith("rank 0 has not answered for 1.")
        assert peer.tokens_of(request_id) == 10
        assert pages.status("/live") == 200  # a restart would be somebody else's decision
        status, page = pages.get("/ready")
        assert status == 503
        assert page["reasons"][0].startswith("rank 0 has not answered")
        assert pages.get("/health")[1]["ranks"][0]["unfinished"] == 1
        peer.end_of(request_id)
        peer.wait_for(Heartbeat, lambda beat: not beat.unhealthy)
        assert peer.tokens_of(request_id) == 30
        fleet.wait_until(lambda: pages.status("/ready") == 200, "ready again")
        assert pages.metric("kvmesh_worker_canaries_total", dp_rank="0", result="timeout") >= 1


def test_an_idle_engine_is_asked_rank_by_rank_and_its_canaries_are_nobodys_requests(
    fleet: Fleet,
) -> None:
    with FrontendPeer(fleet.mesh) as peer:
        _, pages = worker_with_pages(fleet, "--canary-wait-time", "0.3", "--dp-size", "2")

        def asked(rank: int) -> bool:
            return pages.metric("kvmesh_worker_canaries_total", dp_rank=str(rank), result="ok") >= 3

        fleet.wait_until(lambda: asked(0) and asked(1), "three canaries on each rank")
        peer.wait_for(Heartbeat)
        assert pages.get("/health")[1]["requests_running"] == 0
        assert all(not beat.unhealthy for beat in peer.heard if isinstance(beat, Heartbeat))


def test_without_health_checks_nothing_is_asked(fleet: Fleet) -> None:
    with FrontendPeer(fleet.mesh) as peer:
        _, pages = worker_with_pages(fleet, "--no-health-check-enabled")
        peer.wait_for(Heartbeat)
        fleet.wait_until(lambda: pages.status("/ready") == 200, "ready")
        assert pages.get("/health")[1]["ranks"] == []


def test_while_the_engine_loads_the_worker_is_live_and_not_ready(fleet: Fleet) -> None:
    """Also before any frontend is there; with none the worker is healthy and not ready."""
    _, pages = worker_with_pages(fleet, "--sim-startup-s", "3")
    fleet.wait_until(
        lambda: pages.get("/live") == (200, {"status": "live", "phase": "loading"}), "it loads"
    )
    assert pages.get("/ready") == (
        503,
        {"status": "not ready", "reasons": ["the engine is loading"]},
    )
    fleet.wait_until(lambda: pages.status("/health") == 200, "it serves")
    assert pages.get("/ready") == (
        503,
        {"status": "not ready", "reasons": ["no frontend is connected"]},
    )


def test_a_loop_that_hangs_is_not_live(fleet: Fleet) -> None:
    fleet.frontend()
    worker, pages = worker_with_pages(fleet, "--sim-fault", "hang-loop-after-requests=0")
    fleet.wait_for_workers(1)
    assert pages.status("/live") == 200
    with fleet.client() as client:
        asking = threading.Thread(target=_ask, args=(client,))
        asking.start()
        fleet.wait_until(lambda: pages.status("/live") == 503, "not live")
        assert pages.get("/live")[1]["reasons"][0].startswith(
            "the worker's loop has not turned for "
        )
        worker.popen.kill()
        asking.join()


def _ask(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError):
        client.completions.create(model="demo", prompt="x", max_tokens=2)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--health-check-payload", '{"prompt": 1}'), "--health-check-payload"),
        (("--health-check-payload", '{"token_ids": [4000000]}'), "beyond the vocabulary"),
        (("--canary-wait-time", "0"), "--canary-wait-time"),
        (("--system-live-path", "live"), "--system-live-path"),
    ],
)
def test_settings_that_cannot_work_are_start_errors(
    fleet: Fleet, arguments: tuple[str, ...], why: str
) -> None:
    worker = fleet.worker(*arguments)
    assert worker.popen.wait(60) == EXIT_CANNOT_START
    (line,) = [
        line
        for line in worker.output().splitlines()
        if line.startswith("kvmesh worker cannot start")
    ]
    assert why in line


def test_a_port_that_is_taken_is_said_before_the_engine_loads(fleet: Fleet) -> None:
    _, pages = worker_with_pages(fleet)
    fleet.wait_until(lambda: pages.status("/live") == 200, "the first one listens")
    second = fleet.worker("--system-port", str(pages.port), "--sim-startup-s", "1000")
    assert second.popen.wait(60) == EXIT_CANNOT_START
    assert (
        f"--system-port {pages.port}: cannot listen on 127.0.0.1: Address already in use"
        in second.output()
    )
