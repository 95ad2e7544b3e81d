"""LoRA adapters come and go while the worker serves: one change at a time, and the frontends hear
of each.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, Struct

from protocol.errors import DeadlineExceeded, InvalidRequest, ModelNotFound, Overloaded
from protocol.limits import ADAPTERS_MAX, NAME_CHARS_MAX
from workers.engine_controls import AdapterLoader

CHANGE_S_MAX: Final = 120.0
"""Loading or unloading an adapter may take this many seconds.

Loading reads some hundred megabytes; unloading waits for the requests that use the adapter.
"""

WAITING_MAX: Final = 8
"""At most this many changes wait for the one under way: a script's, not a crowd's."""

_Named = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]


class LoadAdapter(Struct, frozen=True, forbid_unknown_fields=True):
    """A LoadAdapter is the body of /engine/load_lora_adapter, with SGLang's names."""

    lora_name: _Named
    lora_path: Annotated[str, Meta(min_length=1, max_length=4_096)]
    """The adapter is read from this directory on this host with adapter_config.json and the
    weights, as PEFT writes them.
    """
    pinned: bool = False
    """Says whether to keep the adapter in the engine's memory whatever else is loaded."""


class UnloadAdapter(Struct, frozen=True, forbid_unknown_fields=True):
    """An UnloadAdapter is the body of /engine/unload_lora_adapter."""

    lora_name: _Named


class Loaded(Struct, frozen=True):
    """A Loaded is the answer to loading and to unloading an adapter."""

    success: bool
    loaded_adapters: list[str]


class Adapters:
    """Adapters knows which adapters requests may name, and how that changes. Lives on the worker's
    loop.

    Args:
        loader: the engine's; None if it takes no adapters.
        on_change: told the names as soon as one may be used, or may not be any more.
    """

    def __init__(
        self, loader: AdapterLoader | None, on_change: Callable[[list[str]], None]
    ) -> None:
        self._loader = loader
        self._on_change = on_change
        self._names: set[str] = set(loader.names() if loader is not None else ())
        self._leaving: set[str] = set()
        """These adapters are withdrawn, and perhaps in the engine yet."""
        self._changing = asyncio.Lock()
        self._waiting = 0

    @property
    def names(self) -> list[str]:
        """Returns the names of the adapters on offer, in alphabetical order."""
        return sorted(self._names)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    async def load(self, wanted: LoadAdapter) -> Loaded:
        """Loads an adapter and offers it.

        Raises:
            InvalidRequest: it cannot be loaded; the message says why.
            Overloaded, DeadlineExceeded: too much is going on.
        """
        async with self._alone() as loader:
            name, path = wanted.lora_name, wanted.lora_path
            if name in self._names | self._leaving:
                raise InvalidRequest(
                    f"An adapter {name!r} is loaded already; unload it first.", param="lora_name"
                )
            if len(self._names) >= ADAPTERS_MAX:
                raise InvalidRequest(
                    f"{ADAPTERS_MAX} adapters are loaded already.", param="lora_name"
                )
            await asyncio.to_thread(_check_directory, Path(path))
            await loader.load(name, path, pinned=wanted.pinned)
            return self._changed(set(loader.names()))

    async def unload(self, wanted: UnloadAdapter) -> Loaded:
        """Withdraws an adapter, and unloads it as soon as nothing that runs uses it.

        Raises:
            ModelNotFound: there is none of this name.
            InvalidRequest, Overloaded, DeadlineExceeded: as `load`. When it took too long, ask
            again.
        """
        async with self._alone() as loader:
            name = wanted.lora_name
            if name not in self._names | self._leaving:
                raise ModelNotFound(f"No adapter {name[:80]!r} is loaded here.", param="lora_name")
            self._leaving.add(name)
            self._changed(self._names - {name})
            await loader.unload(name)
            self._leaving.discard(name)
            return self._changed(set(loader.names()))

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[AdapterLoader]:
        if self._loader is None:
            raise InvalidRequest(
                "This engine takes no LoRA adapters; SGLang does with --enable-lora."
            )
        if self._waiting >= WAITING_MAX:
            raise Overloaded("Too many adapters are being loaded or unloaded.")
        self._waiting += 1
        try:
            async with asyncio.timeout(CHANGE_S_MAX), self._changing:
                yield self._loader
        except TimeoutError:
            raise DeadlineExceeded(f"It was not done after {CHANGE_S_MAX:.0f} s.") from None
        finally:
            self._waiting -= 1

    def _changed(self, names: set[str]) -> Loaded:
        if names != self._names:
            self._names = names
            self._on_change(self.names)
        return Loaded(success=True, loaded_adapters=self.names)


def _check_directory(path: Path) -> None:
    if not path.is_absolute() or not (path / "adapter_config.json").is_file():
        raise InvalidRequest(
            (
                "lora_path must be an absolute path of a directory with adapter_config.json on "
                "this host."
            ),
            param="lora_path",
        )
