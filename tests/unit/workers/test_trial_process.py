"""A process that tries grammars and ends is noticed at once, however it was started."""

import asyncio
import os
from multiprocessing.connection import Connection

import pytest

from protocol.errors import EngineFault
from protocol.generation import Grammar
from workers.sglang.grammars import forked_trial, trial_process
from workers.sglang.grammars.forked_trial import ForkedTrial
from workers.sglang.grammars.messages import Setup
from workers.sglang.grammars.trial_process import TrialProcess

WAIT_S_MAX = 30.0

SETUP = Setup(tokenizer="", vocab_size=1, any_whitespace=True, max_whitespace_cnt=None)


def dies_when_asked(reading: "Connection[None, bytes]", writing: "Connection[bytes, None]") -> None:
    """Stands for a trial that the system ends."""
    del writing
    os.read(reading.fileno(), 1)
    os._exit(9)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> list[ForkedTrial]:
    """Two that wait to be used; made outside of a loop, as a worker makes its own."""
    monkeypatch.setattr(forked_trial, "_try_grammars", dies_when_asked)
    return [ForkedTrial(), ForkedTrial()]


async def test_a_forked_trial_that_ends_is_replaced_at_once(
    forked: list[ForkedTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(_: str) -> ForkedTrial:
        again = forked.pop()
        await again.connect()
        return again

    monkeypatch.setattr(trial_process, "spare_waits", lambda: True)
    monkeypatch.setattr(trial_process, "ForkedTrial", forked.pop)
    monkeypatch.setattr(trial_process, "setup_of", lambda _: SETUP)
    monkeypatch.setattr(trial_process.Program, "start", start)
    trial = TrialProcess(None)
    async with asyncio.timeout(WAIT_S_MAX):
        with pytest.raises(EngineFault):
            await trial.answer(Grammar("regex", "a"), 1.0)
        await trial.ended()
    assert not forked
