"""LoRA adapters are in SGLang's hands: its TokenizerManager loads and unloads them, and remembers
their names.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from protocol.errors import InvalidRequest
from protocol.limits import MESSAGE_CHARS_MAX


class SglangAdapters:
    """SglangAdapters is the AdapterLoader (workers.engine) of an SGLang engine.

    What it relies on, as of SGLang 0.5.23: `lora_ref_cache` holds what was ever loaded, by name. An
    adapter that had to make room for another (--max-loaded-loras) stays there and is loaded again
    when it is asked for; one that was unloaded would be too, so it is removed. `lora_registry` has
    those that are in memory, and SGLang unloads no others but `pending_lora_unloads`, which it did
    not finish.
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def names(self) -> list[str]:
        """Returns the names of the adapters that requests may name."""
        return list(self._manager.lora_ref_cache)

    async def load(self, name: str, path: str, *, pinned: bool) -> None:
        """Loads an adapter from a directory of this host.

        Raises:
            InvalidRequest: SGLang refuses it.
        """
        from sglang.srt.managers.io_struct import LoadLoRAAdapterReqInput  # noqa: PLC0415

        wanted = LoadLoRAAdapterReqInput(lora_name=name, lora_path=path, pinned=pinned)
        await self._ask(self._manager.load_lora_adapter, wanted, path)

    async def unload(self, name: str) -> None:
        """Unloads an adapter when nothing uses it any more.

        Raises:
            InvalidRequest: SGLang refuses.
        """
        self._manager.lora_ref_cache.pop(name, None)
        if (
            name not in self._manager.lora_registry.get_all_adapters()
            and name not in self._manager.pending_lora_unloads
        ):
            return  # it made room for another already
        from sglang.srt.managers.io_struct import UnloadLoRAAdapterReqInput  # noqa: PLC0415

        await self._ask(
            self._manager.unload_lora_adapter, UnloadLoRAAdapterReqInput(lora_name=name), ""
        )

    async def _ask(self, change: Callable[[Any], Awaitable[Any]], wanted: Any, path: str) -> None:
        try:
            result = await change(wanted)
            reason = None if result.success else str(result.error_message)
        except AssertionError as error:  # as with data parallelism
            reason = str(error)
        if reason is not None:
            reason = reason.replace(path, Path(path).name) if path else reason
            raise InvalidRequest(f"SGLang refuses: {reason}"[:MESSAGE_CHARS_MAX], param="lora_name")
