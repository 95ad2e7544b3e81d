"""A library registers its signal handlers; we run them when we like."""

import asyncio
import os
import signal

import pytest
import uvloop

from workers.process.deferred_signals import DeferredHandlers


class Library:
    """Takes signals as SGLang does when it starts."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def register(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_signal_handler(signal.SIGTERM, self.seen.append, "first")
        loop.add_signal_handler(signal.SIGTERM, self.seen.append, "term")
        loop.add_signal_handler(signal.SIGINT, self._broken)
        loop.add_signal_handler(signal.SIGQUIT, self.seen.append, "quit")

    def _broken(self) -> None:
        raise RuntimeError("no")


async def _scenario() -> None:
    loop, library, deferred = asyncio.get_running_loop(), Library(), DeferredHandlers()
    before = signal.getsignal(signal.SIGTERM)
    with deferred.capture(loop):
        library.register(loop)
    assert deferred.numbers == {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
    assert signal.getsignal(signal.SIGTERM) is before
    ours: asyncio.Future[None] = loop.create_future()
    loop.add_signal_handler(signal.SIGTERM, ours.set_result, None)  # the loop's own method is back
    os.kill(os.getpid(), signal.SIGTERM)
    await ours
    loop.remove_signal_handler(signal.SIGTERM)
    assert library.seen == []
    deferred.run((signal.SIGINT, signal.SIGTERM))  # the broken one is only logged
    assert library.seen == ["term"]
    deferred.run((signal.SIGTERM,))
    assert library.seen == ["term"]  # once


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_what_is_registered_meanwhile_is_kept_and_run_later(
    run, caplog: pytest.LogCaptureFixture
) -> None:
    run(_scenario())
    assert "a deferred handler of signal 2 failed" in caplog.text


def test_the_loop_gets_its_method_back_when_the_library_fails() -> None:
    async def scenario() -> None:
        loop, deferred = asyncio.get_running_loop(), DeferredHandlers()
        with pytest.raises(ZeroDivisionError), deferred.capture(loop):
            raise ZeroDivisionError
        assert "add_signal_handler" not in vars(loop)

    uvloop.run(scenario())
