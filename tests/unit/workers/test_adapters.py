"""Adapters come and go one at a time; names are withdrawn before they are unloaded and offered when
they are loaded.
"""

import asyncio
import json
from pathlib import Path

import pytest

from protocol.errors import (
    DeadlineExceeded,
    InvalidRequest,
    MeshError,
    ModelNotFound,
    NoWorker,
    Overloaded,
    RouteNotFound,
)
from workers.system import adapters as adapters_module
from workers.system.adapters import WAITING_MAX, Adapters, LoadAdapter, UnloadAdapter
from workers.system.controls import Control, Controls


class Loader:
    """An engine that does what it is told when it is let."""

    def __init__(self) -> None:
        self.loaded: list[str] = ["old"]
        self.done: list[str] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.refusal: str | None = None

    def names(self) -> list[str]:
        return self.loaded

    async def load(self, name: str, path: str, *, pinned: bool) -> None:
        await self._work(f"load {name} {Path(path).name} {pinned}")
        self.loaded = [*self.loaded, name]

    async def unload(self, name: str) -> None:
        await self._work(f"unload {name}")
        self.loaded = [other for other in self.loaded if other != name]

    async def _work(self, what: str) -> None:
        await self.may_go_on.wait()
        if self.refusal:
            raise InvalidRequest(self.refusal)
        self.done.append(what)


@pytest.fixture
def directory(tmp_path: Path) -> str:
    (tmp_path / "adapter_config.json").write_text("{}")
    return str(tmp_path)


async def test_what_is_loaded_is_offered_and_what_is_unloaded_is_withdrawn_first(
    directory: str,
) -> None:
    loader, told = Loader(), list[list[str]]()
    adapters = Adapters(loader, told.append)
    assert adapters.names == ["old"]
    answer = await adapters.load(LoadAdapter("new", directory, pinned=True))
    assert answer.loaded_adapters == ["new", "old"]
    assert "new" in adapters
    loader.may_go_on.clear()
    unloading = asyncio.create_task(adapters.unload(UnloadAdapter("old")))
    await asyncio.sleep(0)
    assert "old" not in adapters
    assert told == [["new", "old"], ["new"]]
    loader.may_go_on.set()
    assert (await unloading).loaded_adapters == ["new"]
    assert told == [["new", "old"], ["new"]]
    assert loader.done == [f"load new {Path(directory).name} True", "unload old"]


async def test_what_the_engine_refuses_changes_nothing(directory: str) -> None:
    loader, told = Loader(), list[list[str]]()
    loader.refusal = "no room"
    adapters = Adapters(loader, told.append)
    with pytest.raises(InvalidRequest, match="no room"):
        await adapters.load(LoadAdapter("new", directory))
    assert (adapters.names, told) == (["old"], [])


async def test_an_unload_that_failed_may_be_asked_for_again(directory: str) -> None:
    loader = Loader()
    loader.refusal = "busy"
    adapters = Adapters(loader, lambda _: None)
    with pytest.raises(InvalidRequest):
        await adapters.unload(UnloadAdapter("old"))
    assert "old" not in adapters
    with pytest.raises(InvalidRequest, match="already"):
        await adapters.load(LoadAdapter("old", directory))
    loader.refusal = None
    await adapters.unload(UnloadAdapter("old"))
    with pytest.raises(ModelNotFound):
        await adapters.unload(UnloadAdapter("old"))


async def test_waiting_and_time_have_bounds(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = Loader()
    loader.may_go_on.clear()
    adapters = Adapters(loader, lambda _: None)
    waiting = [
        asyncio.create_task(adapters.load(LoadAdapter(f"a{number}", directory)))
        for number in range(WAITING_MAX)
    ]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await adapters.unload(UnloadAdapter("old"))
    loader.may_go_on.set()
    await asyncio.gather(*waiting)
    monkeypatch.setattr(adapters_module, "CHANGE_S_MAX", 0.0)
    loader.may_go_on.clear()
    with pytest.raises(DeadlineExceeded):
        await adapters.unload(UnloadAdapter("old"))


async def test_an_engine_without_adapters_says_so(directory: str) -> None:
    with pytest.raises(InvalidRequest, match="no LoRA adapters"):
        await Adapters(None, lambda _: None).load(LoadAdapter("x", directory))


async def test_controls_are_asked_from_another_thread_and_only_while_open() -> None:
    controls, loader = Controls(), Loader()
    adapters = Adapters(loader, lambda _: None)

    def ask(name: str, body: object) -> object:
        """As the system server's thread does."""
        return asyncio.run(controls.ask(name, json.dumps(body).encode()))

    async def failure(name: str, body: object) -> type[MeshError]:
        with pytest.raises(MeshError) as raised:
            await asyncio.to_thread(ask, name, body)
        return raised.type

    assert await failure("unload", {"lora_name": "old"}) is NoWorker
    controls.open(asyncio.get_running_loop(), {"unload": Control(UnloadAdapter, adapters.unload)})
    assert await failure("other", {}) is RouteNotFound
    assert await failure("unload", {"lora_name": 1}) is InvalidRequest
    assert await failure("unload", {"lora_name": "nobody"}) is ModelNotFound
    await asyncio.to_thread(ask, "unload", {"lora_name": "old"})
    assert loader.done == ["unload old"]
    controls.close()
    assert await failure("unload", {"lora_name": "old"}) is NoWorker
