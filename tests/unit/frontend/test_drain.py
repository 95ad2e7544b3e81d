"""The stages of leaving, on a clock of numbers; and that waiting for the end needs no poll."""

import asyncio

import pytest

from frontend.drain import CUT_S_MAX, Drain, Stage
from protocol.errors import MeshError, ShuttingDown


class Request:
    """Remembers what it was cut off with."""

    def __init__(self) -> None:
        self.errors: list[MeshError] = []

    def cut_off(self, error: MeshError) -> None:
        self.errors.append(error)


def test_without_a_grace_period_an_idle_frontend_is_over_with_the_signal() -> None:
    drain = Drain(grace_s=0, finish_s_max=30)
    assert (drain.begun, drain.refusing, drain.over) == (False, False, False)
    drain.on_signal(100)
    assert (drain.begun, drain.refusing, drain.over) == (True, True, True)


def test_in_the_grace_period_requests_are_taken_and_an_idle_frontend_stays() -> None:
    drain = Drain(grace_s=5, finish_s_max=30)
    drain.on_signal(100)
    assert (drain.begun, drain.refusing, drain.over, drain.until) == (True, False, False, 105)
    drain.advance(104.9)
    assert not drain.refusing
    drain.advance(105)
    assert (drain.refusing, drain.over) == (True, True)


def test_open_requests_are_waited_for_and_then_cut_off_once() -> None:
    drain, request = Drain(grace_s=0, finish_s_max=30), Request()
    drain.enter(request)
    drain.on_signal(100)
    drain.advance(129.9)
    assert (drain.over, request.errors) == (False, [])
    drain.advance(130)
    drain.advance(130.1)
    assert [type(error) for error in request.errors] == [ShuttingDown]
    assert not drain.over  # the error is on its way
    drain.leave(request)
    assert drain.over


def test_open_requests_are_cut_off_in_the_order_of_their_arrival() -> None:
    drain = Drain[Request](grace_s=0, finish_s_max=0)
    requests = [Request() for _ in range(40)]
    arrived = requests[::2] + requests[::-2]  # in no order of memory
    ended: list[Request] = []
    for request in arrived:
        request.cut_off = lambda _, request=request: ended.append(request)  # type: ignore[method-assign]
        drain.enter(request)
    drain.leave(arrived.pop(7))
    drain.on_signal(100)
    assert ended == arrived


def test_who_does_not_take_the_error_is_not_waited_for_longer_than_that() -> None:
    drain, request = Drain(grace_s=0, finish_s_max=0), Request()
    drain.enter(request)
    drain.on_signal(100)
    drain.advance(100 + CUT_S_MAX)
    assert drain.over


@pytest.mark.parametrize("grace_s", [0, 5])
def test_a_second_signal_cuts_off_and_a_third_waits_for_nothing(grace_s: float) -> None:
    drain, request = Drain(grace_s=grace_s, finish_s_max=30), Request()
    drain.enter(request)
    for number in range(3):
        drain.on_signal(100 + number)
        assert (len(request.errors), drain.over) == [(0, False), (1, False), (1, True)][number]


def test_every_stage_is_told_once_and_in_order() -> None:
    stages: list[Stage] = []
    drain, request = Drain(grace_s=1, finish_s_max=1), Request()
    drain.on_stage = stages.append
    drain.enter(request)
    drain.on_signal(0)
    for now in range(10):
        drain.advance(now)
    assert stages == [Stage.LEAVING, Stage.REFUSING, Stage.CUTTING]


async def test_waiting_ends_with_the_last_open_request() -> None:
    drain, request = Drain(grace_s=0, finish_s_max=30), Request()
    drain.enter(request)
    waiting = asyncio.create_task(drain.until_over())
    await asyncio.sleep(0)
    drain.on_signal(asyncio.get_running_loop().time())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    drain.leave(request)
    await asyncio.wait_for(waiting, 10)


async def test_waiting_goes_through_the_stages_by_itself() -> None:
    drain, request = Drain(grace_s=0.01, finish_s_max=0.01), Request()
    request.cut_off = lambda _: drain.leave(request)  # type: ignore[method-assign]
    drain.enter(request)
    drain.on_signal(asyncio.get_running_loop().time())
    await asyncio.wait_for(drain.until_over(), 10)
    assert drain.stage is Stage.CUTTING
