"""Equal prompts are kept apart in a KV cache by the LoRA adapter that computed them, and the
client's cache salt.
"""

from dataclasses import dataclass
from functools import cached_property

import msgspec
from xxhash import xxh3_64_intdigest


@dataclass(frozen=True)
class Namespace:
    """A Namespace keeps prompts apart: those of different namespaces share no pages."""

    lora_name: str | None = None
    cache_salt: str | None = None

    @cached_property
    def key(self) -> bytes:
        """Returns what is put in front of the first page's key; empty for the plain namespace."""
        return b"" if self == PLAIN else msgspec.msgpack.encode((self.lora_name, self.cache_salt))

    @cached_property
    def seed(self) -> int:
        """Returns where the chain of engine ids starts.

        Not that of kv_events.hashing: readers must not take one for the other.
        """
        return xxh3_64_intdigest(b"sim engine" + self.key)


PLAIN = Namespace()
