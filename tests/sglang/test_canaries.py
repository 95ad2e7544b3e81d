"""A canary on an idle and on a busy engine, and SGLang's signal handlers."""

import signal

import pytest

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]


def test_an_idle_engine_runs_a_canary_and_keeps_nothing(engine, make_canary, read):
    engine.rest()
    [deltas] = engine.run(make_canary(1))
    assert len(read.tokens(deltas)) == 1
    assert read.finish(deltas).reason == "length"
    state = engine.state()
    assert (state["rids"], state["in_flight"]) == ([], [])


def test_a_busy_engine_answers_a_canary_without_running_it_and_keeps_nothing(
    engine, make_request, make_canary, read
):
    """Also when more is waiting than runs: a canary never waits behind real work."""
    long = [
        make_request([1, 2, number], max_new_tokens=300, ignore_eos=True) for number in range(12)
    ]
    engine.send(*long)
    engine.collect(until=lambda: long[0].request_id in engine.by_id)
    asked = make_canary(2)
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
    assert set(state["in_flight"]) <= {request.request_id for request in long}
    engine.collect(*(request.request_id for request in long))
    assert engine.state()["rids"] == []


def test_sglangs_signal_handlers_are_kept_for_later_and_its_poll_for_dead_processes_is_off(engine):
    state = engine.state()
    assert state["deferred"] == sorted((signal.SIGQUIT, signal.SIGTERM))
    assert state["sigterm_is_ours"]
    assert not state["watchdog_runs"]
