"""What an operator asks is done to a simulated engine: its weights are the seed of its text."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import msgspec
from msgspec import Struct

from protocol.errors import InvalidRequest
from workers.engine_controls import ChangeFailed
from workers.sim.ranks import Ranks
from workers.sim.scheduling.kv_outlet import KvOutlet
from workers.sim.text import TextModel

WEIGHTS_FILE: Final = "sim_weights.json"
"""A checkpoint of the simulation is a directory with this file, whose fields are SimWeights'."""


class SimWeights(Struct, forbid_unknown_fields=True):
    """SimWeights are what a simulated engine writes by.

    Attributes:
        seed: of its text.
        load_s: seconds that it takes to load them.
        broken: the engine fails half-way.
        lost: and then cannot go back to those before.
    """

    seed: int = 0
    load_s: float = 0.0
    broken: bool = False
    lost: bool = False


class Nothing(Struct):
    """A Nothing is a body without fields."""


class Pause(Struct):
    """A Pause is the body of pause_generation, with SGLang's fields."""

    mode: Literal["abort", "retract", "in_place"] = "abort"


class Update(Struct, kw_only=True):
    """An Update is the body of update_weights_from_disk, with those of SGLang's fields that the
    simulation has something like.
    """

    model_path: str
    weight_version: str | None = None
    abort_all_requests: bool = False
    flush_cache: bool = True


class Session(Struct, kw_only=True):
    """A Session is the body of begin_weight_update, with SGLang's fields."""

    selector: str = "all"


class Version(Struct, kw_only=True):
    """A Version is the body of update_weight_version, with SGLang's fields."""

    new_version: str
    abort_all_requests: bool = True


class Memory(Struct):
    """A Memory is the body of release_ and resume_memory_occupation, with SGLang's fields."""

    tags: list[str] | None = None


class Profile(Struct):
    """A Profile is the body of start_profile."""

    output_dir: str | None = None


_STRUCTS: Final[Mapping[str, type[Struct]]] = {
    "pause_generation": Pause,
    "continue_generation": Nothing,
    "flush_cache": Nothing,
    "update_weights_from_disk": Update,
    "begin_weight_update": Session,
    "end_weight_update": Nothing,
    "update_weight_version": Version,
    "release_memory_occupation": Memory,
    "resume_memory_occupation": Memory,
    "start_profile": Profile,
    "stop_profile": Nothing,
    "get_model_info": Nothing,
    "get_server_info": Nothing,
}


class EndAll(Protocol):
    """An EndAll ends whatever runs, as lost or as aborted."""

    def __call__(self, *, lost: bool) -> None: ...


class SimRoutes:
    """SimRoutes is the EngineRoutes (workers.engine_controls) of a simulated engine.

    Args:
        outlets: of the KV events of the ranks; none where there are no events.
    """

    def __init__(
        self, text: TextModel, ranks: Ranks, outlets: Sequence[KvOutlet], end_all: EndAll
    ) -> None:
        self._text = text
        self._ranks = ranks
        self._outlets = outlets
        self._end_all = end_all
        self._weights = SimWeights(seed=text.seed)
        self._version = ""
        self._path = ""
        self._restorable = True
        self._asked: dict[str, Callable[[Any], Awaitable[dict[str, Any]]]] = {
            "pause_generation": self._pause,
            "continue_generation": self._continue,
            "update_weights_from_disk": self._update,
            "update_weight_version": self._name_weights,
            "start_profile": self._start_profile,
            "get_model_info": self._told,
            "get_server_info": self._told,
        }

    @property
    def bodies(self) -> Mapping[str, type[Struct]]:
        """Returns the structs by the names of the routes."""
        return _STRUCTS

    @property
    def weight_version(self) -> str:
        """Returns the name of the weights; empty if nobody gave them one."""
        return self._version

    @property
    def loses_weights(self) -> bool:
        """Tells that released weights are there when they are resumed."""
        return False

    @property
    def running(self) -> int:
        """Returns how many requests have not ended."""
        return self._ranks.unfinished

    def end_all(self, *, lost: bool) -> None:
        """Ends whatever runs, as EngineRoutes says."""
        self._end_all(lost=lost)

    async def flush(self, wait_s: float) -> bool:
        """Empties the caches now, since nothing runs behind the last request."""
        del wait_s
        return self._ranks.flush_cache(self._outlets)

    def check(self, route: str, body: Struct) -> None:
        """Refuses nothing."""

    async def ask(self, route: str, body: Struct) -> dict[str, Any]:
        """Does what a route says, as EngineRoutes says."""
        if route in self._asked:
            return await self._asked[route](body)
        return {"status": "ok"}

    async def restore(self) -> bool:
        """Writes on by the weights before, as EngineRoutes says."""
        self._text.seed = self._weights.seed
        return self._restorable

    async def _pause(self, body: Any) -> dict[str, Any]:
        self._ranks.hold(held=body.mode in ("retract", "in_place"))
        return {"status": "ok"}

    async def _continue(self, _: Any) -> dict[str, Any]:
        self._ranks.hold(held=False)
        return {"status": "ok"}

    async def _update(self, body: Any) -> dict[str, Any]:
        path = Path(body.model_path) / WEIGHTS_FILE
        try:
            weights = msgspec.json.decode(await asyncio.to_thread(path.read_bytes), type=SimWeights)
        except (OSError, msgspec.MsgspecError) as error:
            raise InvalidRequest(f"No such checkpoint: {error}.", param="model_path") from None
        await asyncio.sleep(weights.load_s)
        self._text.seed = weights.seed
        if weights.broken:
            self._restorable = not weights.lost
            raise ChangeFailed("the simulated weights are broken")
        self._weights, self._path, self._restorable = weights, body.model_path, True
        self._version = body.weight_version or self._version
        return {"success": True, "message": "Loaded.", "num_paused_requests": 0}

    async def _name_weights(self, body: Any) -> dict[str, Any]:
        self._version = body.new_version
        return {"success": True, "message": "Named.", "new_version": body.new_version}

    async def _start_profile(self, body: Any) -> dict[str, Any]:
        if body.output_dir is not None:
            trace = Path(body.output_dir) / "sim.trace.json"
            await asyncio.to_thread(trace.write_text, json.dumps({"traceEvents": []}))
        return {"status": "ok", "message": "Profiling started"}

    async def _told(self, _: Any) -> dict[str, Any]:
        return {"model_path": self._path, "weight_version": self._version}
