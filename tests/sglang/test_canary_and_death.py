"""A canary on an idle and on a busy engine, SGLang's signal handlers, and the death of one of its
processes.
"""

import os
import signal

import pytest

from workers.engine import CANARY_PREFIX

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def mortal(model_dir, start_engine):
    """An engine that this file may kill: two ranks behind SGLang's data-parallel controller."""
    return start_engine(
        "--model-path", str(model_dir), "--dtype", "float32", "--max-running-requests", "4",
        "--max-total-tokens", "2048",
        "--dp-size", "2", "--random-seed", "1", "--log-level", "warning",
    )  # fmt: skip


def canary(make_request, number, **settings):
    return make_request(
        [1], request_id=f"{CANARY_PREFIX}{number:020x}", max_new_tokens=1, **settings
    )


def test_an_idle_engine_runs_a_canary_and_keeps_nothing(engine, make_request, read):
    [deltas] = engine.run(canary(make_request, 1))
    assert len(read.tokens(deltas)) == 1
    assert read.finish(deltas).reason == "length"
    state = engine.state()
    assert (state["rids"], state["runs"]) == ([], [])


def test_a_busy_engine_answers_a_canary_without_running_it_and_keeps_nothing(
    engine, make_request, read
):
    """Also when more is waiting than runs: a canary never waits behind real work."""
    long = [
        make_request([1, 2, number], max_new_tokens=300, ignore_eos=True) for number in range(12)
    ]
    engine.send(*long)
    engine.collect(until=lambda: long[0].request_id in engine.by_id)
    asked = canary(make_request, 2)
    [deltas] = engine.run(asked)
    assert read.tokens(deltas) == []
    assert read.finish(deltas).reason == "abort"
    assert any(
        engine.by_id.get(request.request_id, [None])[-1] is None
        or engine.by_id[request.request_id][-1].end is None
        for request in long
    )
    state = engine.state()
    assert asked.request_id not in state["rids"]
    assert set(state["runs"]) <= {request.request_id for request in long}
    engine.collect(*(request.request_id for request in long))
    assert engine.state()["rids"] == []


def test_sglangs_signal_handlers_are_kept_for_later_and_its_poll_for_dead_processes_is_off(engine):
    state = engine.state()
    assert state["deferred"] == sorted((signal.SIGQUIT, signal.SIGTERM))
    assert state["sigterm_is_ours"]
    assert not state["watchdog_runs"]


def test_ctrl_c_at_the_terminal_leaves_the_schedulers_to_the_worker(mortal, make_request, read):
    """The terminal sends SIGINT to every process of its group."""
    _ = mortal.facts
    children = [
        int(pid) for pid, name in mortal.state()["children"].items() if name.startswith("sglang::")
    ]
    assert len(children) == 4  # controller, two schedulers, detokenizer
    for pid in children:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
    for rank in (0, 1):
        [deltas] = mortal.run(make_request([1, 2, 3], max_new_tokens=4, routed_dp_rank=rank))
        assert len(read.tokens(deltas)) == 4


def test_a_stopped_rank_does_not_answer_its_canary_and_answers_the_next_one_when_it_goes_on(
    mortal, make_request, read
):
    [frozen] = [
        int(pid) for pid, name in mortal.state()["children"].items() if "scheduler_DP1" in name
    ]
    os.kill(frozen, signal.SIGSTOP)
    silent, other = (
        canary(make_request, 3, routed_dp_rank=1),
        canary(make_request, 4, routed_dp_rank=0),
    )
    mortal.send(silent)
    [deltas] = mortal.run(other)
    assert len(read.tokens(deltas)) == 1
    assert silent.request_id not in mortal.by_id
    mortal.send({"type": "abort", "request_id": silent.request_id})
    [deltas] = mortal.collect(silent.request_id)  # an abort ends a canary whatever its rank does
    assert read.finish(deltas).reason == "abort"
    os.kill(frozen, signal.SIGCONT)
    [deltas] = mortal.run(canary(make_request, 5, routed_dp_rank=1))
    read.finish(deltas)
    state = mortal.state()
    assert (state["rids"], state["runs"]) == ([], [])


def test_a_killed_scheduler_is_a_death_that_is_told(mortal, make_request):
    long = make_request([1, 2, 3], max_new_tokens=1000, ignore_eos=True, routed_dp_rank=1)
    mortal.send(long)
    mortal.collect(until=lambda: long.request_id in mortal.by_id)
    [victim] = [
        int(pid) for pid, name in mortal.state()["children"].items() if "scheduler_DP1" in name
    ]
    os.kill(victim, signal.SIGKILL)
    reason = mortal.death()
    assert reason.startswith("SGLang's scheduler_DP1")
    assert mortal.process.poll() is None  # it lives on to say so


def test_a_dead_engine_is_killed_whole(mortal):
    assert mortal.death()
    assert mortal.stop(kill=True) == []
    assert mortal.process.returncode == 0
