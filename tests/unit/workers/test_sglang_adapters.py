"""Adapters in SGLang's hands, where that has unloaded one by itself."""

from types import SimpleNamespace
from typing import Any

from workers.sglang.adapters import SglangAdapters


class Manager:
    """Of SGLang's TokenizerManager what knows of adapters: "evicted" had to make room."""

    def __init__(self) -> None:
        self.lora_ref_cache = {"loaded": 1, "evicted": 2}
        self.lora_registry = SimpleNamespace(get_all_adapters=lambda: {"loaded": 1})
        self.pending_lora_unloads: dict[str, Any] = {}

    async def unload_lora_adapter(self, wanted: Any) -> Any:
        raise AssertionError(f"SGLang knows nothing of {wanted}")


async def test_one_that_made_room_for_another_is_unloaded_without_sglang() -> None:
    adapters = SglangAdapters(Manager())
    assert adapters.names() == ["loaded", "evicted"]
    await adapters.unload("evicted")
    assert adapters.names() == ["loaded"]
