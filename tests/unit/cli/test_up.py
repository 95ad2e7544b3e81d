"""What `kvmesh up` says once its workers serve; no process is started here."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from frontend.cli import up

WAIT_S_MAX = 10.0

TEXT = {"worker_id": "w", "service": "text", "model": "m", "engine": "sim"}
ENCODE = {"worker_id": "e", "service": "encode", "model": "m", "engine": "sim"}


async def test_whoever_can_be_talked_to_is_told_of_as_soon_as_one_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = asyncio.Event()
    # the text worker starts again as the encode worker comes
    polls: list[list[dict[str, Any]]] = [[TEXT], [ENCODE], [TEXT, ENCODE]]
    monkeypatch.setattr(up, "POLL_S", 0.0)
    monkeypatch.setattr(up, "_ready_workers", lambda _: polls.pop(0) if polls else said.set() or [])
    host: Any = object.__new__(up._Host)
    host._health_url = host._url = host._how_to_join = ""
    host._workers, host._served = {"w": None, "e": None}, set()
    host._starting = SimpleNamespace(end=lambda _: None)
    watching = asyncio.create_task(host._watch_health())
    async with asyncio.timeout(WAIT_S_MAX):
        await said.wait()
    assert not watching.done()
    watching.cancel()
    assert capsys.readouterr().out.count("serving m (sim)") == 1
