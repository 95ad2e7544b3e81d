"""What the intake refuses, and credit: what a frontend has aborted counts no more, though the
engine has yet to end it.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from protocol.embedding import Embed
from protocol.generation import Finished, Generate, Sampling
from protocol.replies import Delta, Failed
from workers.mesh import intake as intake_module
from workers.mesh.intake import Intake
from workers.observe.request_counts import RequestCounts


class Frontend:
    def __init__(self) -> None:
        self.requests = 0
        self.told: list[Delta] = []

    def send_deltas(self, deltas: Sequence[Delta]) -> None:
        self.told += deltas


def request(number: int) -> Generate:
    return Generate(f"{number:032x}", "m", b"\1\0\0\0", Sampling(4), 1 << 52)


def end_of(number: int) -> Delta:
    return Delta(f"{number:032x}", 0, b"", Finished("abort", 1, 0))


@pytest.fixture
def engine() -> Any:
    calls: list[tuple[str, str]] = []
    return SimpleNamespace(
        calls=calls,
        submit=lambda request: calls.append(("submit", request.request_id)),
        abort=lambda request_id: calls.append(("abort", request_id)),
    )


@pytest.fixture
def intake(engine: Any) -> Intake:
    intake = Intake(
        engine,
        unix_ms=lambda: 0.0,
        on_idle=lambda: None,
        offers=lambda _: False,
        counts=RequestCounts(lambda: 0.0),
    )
    intake.credit_requests = 1
    return intake


def test_an_aborted_request_makes_room_at_once_and_ends_once(intake: Intake, engine: Any) -> None:
    frontend = Frontend()
    intake.take(frontend, request(1))
    intake.abort(frontend, request(1).request_id)
    intake.abort(frontend, request(1).request_id)
    intake.take(frontend, request(2))
    assert [call for call, _ in engine.calls] == ["submit", "abort", "submit"]
    assert (frontend.requests, len(intake)) == (1, 1)
    intake.deliver([end_of(1), end_of(2)])
    assert (frontend.requests, len(intake)) == (0, 0)
    assert frontend.told == [end_of(1), end_of(2)]


def test_a_frontend_that_is_gone_leaves_no_count(intake: Intake) -> None:
    frontend = Frontend()
    intake.take(frontend, request(1))
    intake.abort(frontend, request(1).request_id)
    intake.abort_all_of(frontend)
    intake.deliver([end_of(1)])
    assert (frontend.requests, len(intake), frontend.told) == (0, 0, [])


def test_requests_that_come_and_go_faster_than_the_engine_ends_them_are_refused(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "ABORTED_MAX", 2)
    frontend = Frontend()
    for number in range(4):
        intake.take(frontend, request(number))
        intake.abort(frontend, request(number).request_id)
    assert len(intake) == 0  # nobody waits for them
    ends = [delta.end for delta in frontend.told]
    assert [end.code for end in ends if isinstance(end, Failed)] == ["overloaded", "overloaded"]


def test_work_of_another_kind_of_worker_ends_before_the_engine(intake: Intake, engine: Any) -> None:
    intake.takes = (Embed,)
    frontend = Frontend()
    intake.take(frontend, request(1))
    (ended,) = (delta.end for delta in frontend.told)
    assert isinstance(ended, Failed)
    assert ended.code == "unsupported_parameter"
    assert (engine.calls, frontend.requests, len(intake)) == ([], 0, 0)
