"""What a worker refuses: whether it is asked again, or the client is told."""

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from frontend.inflight.migration import Trail
from frontend.inflight.recovery import Lost, Recovery
from frontend.routing.route import RouteRequest
from protocol.errors import EncoderLost, MeshError, NoWorker, Overloaded, WorkerLost
from protocol.generation import Generate, Sampling
from protocol.tokens import pack_tokens
from workers.sglang.requests.request_in_flight import failed


class FakeDispatch:
    """One worker, which has refused already."""

    def __init__(self) -> None:
        self.asked = 0

    async def place(self, _: Any, offer: Any, __: Any) -> Any:
        self.asked += 1
        if offer.avoid:
            raise NoWorker("There is no other.")
        return SimpleNamespace(request_id="b" * 32, worker_id="w")


async def moved(error: MeshError, dispatch: Any, lost_on: str = "w") -> Any:
    recovery = Recovery(
        dispatch, MagicMock(), moves_max=3, new_request_id=lambda: "b" * 32, now=lambda: 0.0
    )  # pyright: ignore[reportArgumentType]
    entry = SimpleNamespace(queue=SimpleNamespace(sheds=False), refused=lambda asked: "w" in asked)
    prompt = pack_tokens([1])
    request = Generate("a" * 32, "m", prompt, Sampling(4), 1 << 52)
    lost = Lost(request, RouteRequest(prompt), SimpleNamespace(lost_on=lost_on), b"", error)  # pyright: ignore[reportArgumentType]
    return await recovery.move(entry, lost, Trail(), MagicMock())  # pyright: ignore[reportArgumentType]


async def test_a_worker_that_is_full_is_asked_again() -> None:
    dispatch = FakeDispatch()
    assert (await moved(Overloaded("full"), dispatch)).worker_id == "w"
    assert dispatch.asked == 1


async def test_a_worker_that_has_no_room_for_what_is_asked_for_is_not() -> None:
    dispatch = FakeDispatch()
    with pytest.raises(Overloaded) as raised:
        await moved(Overloaded("too many grammars", param="guided_regex"), dispatch)
    assert (raised.value.param, dispatch.asked) == ("guided_regex", 1)


async def test_where_pictures_cannot_be_fetched_they_are_not_encoded_again() -> None:
    avoided: list[Any] = []

    async def place(_: Any, offer: Any, __: Any) -> Any:
        avoided.append((offer.avoid, offer.alone))
        return SimpleNamespace(request_id="b" * 32, worker_id="w")

    await moved(EncoderLost("no way"), SimpleNamespace(place=place), lost_on="e")
    assert avoided == [({"e"}, False)]


@pytest.mark.parametrize("innocent", [True, False])
async def test_who_may_have_begun_a_request_is_asked_about_before_it_moves(innocent: bool) -> None:
    alone: list[bool] = []

    async def place(_: Any, offer: Any, __: Any) -> Any:
        alone.append(offer.alone)
        return SimpleNamespace(request_id="b" * 32, worker_id="v")

    doubt = asyncio.get_running_loop().create_future()
    doubt.set_result(innocent)
    await moved(WorkerLost("lost", cause="died", doubt=doubt), SimpleNamespace(place=place))
    assert alone == [not innocent]


def test_a_worker_says_itself_that_too_many_grammars_wait() -> None:
    end = failed(Overloaded("too many grammars", param="guided_regex"))
    assert (end.code, end.message, end.param) == ("overloaded", "too many grammars", "guided_regex")
