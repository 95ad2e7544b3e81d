"""What an operator asks is done by SGLang's TokenizerManager, which tells every rank."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from msgspec import Struct
from sglang.srt.managers import io_struct

from protocol.errors import Conflict, InvalidRequest
from protocol.process.start_error import StartError
from workers.engine_controls import ChangeFailed
from workers.sglang.checkpoints import Shapes, difference, shapes_of
from workers.sglang.model_files import model_dir_of
from workers.sglang.requests.submissions import Submissions
from workers.sglang.route_bodies import STRUCTS, check_ipc, check_profile
from workers.sglang.server_info import model_info, server_info

log = logging.getLogger(__name__)

_UNNAMED: Final = "default"
"""SGLang gives this name to weights that nobody named."""


class SglangRoutes:
    """SglangRoutes is the EngineRoutes (workers.engine_controls) of an SGLang engine.

    Args:
        engine: SGLang's, with its TokenizerManager.
        requests: those that run on it.
    """

    def __init__(self, engine: Any, requests: Submissions) -> None:
        self._engine = engine
        self._manager = engine.tokenizer_manager
        self._requests = requests
        self._on_cpu = self._manager.config_value("device") == "cpu"
        self._name = str(self._manager.served_model_name)
        self._first = str(self._manager.model_path)
        self._last: str | None = self._first
        """The weights are all those of this path; None if they came from elsewhere."""
        self._in_session = self._elsewhere = False
        """Says whether a session has begun, and whether weights came in it."""
        self._shapes: Shapes | None = None
        self._asked: dict[str, Callable[[Any], Awaitable[dict[str, Any]]]] = {
            "pause_generation": self._pause,
            "continue_generation": self._continue,
            "update_weights_from_disk": self._update_from_disk,
            "init_weights_update_group": self._init_group,
            "destroy_weights_update_group": self._destroy_group,
            "begin_weight_update": self._begin,
            "end_weight_update": self._end,
            "update_weight_version": self._name_weights,
            "release_memory_occupation": self._release,
            "resume_memory_occupation": self._resume,
            "start_profile": self._start_profile,
            "stop_profile": self._stop_profile,
            "get_model_info": self._model_info,
            "get_server_info": self._server_info,
        }

    @property
    def bodies(self) -> Mapping[str, type[Struct]]:
        """Returns SGLang's structs by the names of the routes."""
        return STRUCTS

    @property
    def weight_version(self) -> str:
        """Returns the name of the weights; empty if nobody gave them one."""
        version = str(self._manager.config_value("weight_version"))
        return "" if version == _UNNAMED else version

    @property
    def loses_weights(self) -> bool:
        """Tells whether released weights are gone when their memory is resumed."""
        arguments = self._manager.server_args
        return bool(arguments.enable_memory_saver and not arguments.enable_weights_cpu_backup)

    @property
    def running(self) -> int:
        """Returns how many requests have not ended."""
        return len(self._requests.unfinished)

    def end_all(self, *, lost: bool) -> None:
        """Ends whatever runs, as EngineRoutes says."""
        self._requests.end_all(lost=lost)

    async def flush(self, wait_s: float) -> bool:
        """Empties the cache of each rank, as EngineRoutes says."""
        asked = io_struct.FlushCacheReqInput(timeout_s=wait_s)
        results = await self._manager.flush_cache_communicator(asked)
        flushed = all(result.success for result in results)
        if flushed and self._manager.mm_processor is not None:
            self._manager.mm_processor.clear_preprocess_cache()
        return flushed

    def check(self, route: str, body: Struct) -> None:
        """Refuses what this engine can never do, as EngineRoutes says."""
        if route == "update_weights_from_ipc":
            check_ipc(body, on_cpu=self._on_cpu)

    async def ask(self, route: str, body: Struct) -> dict[str, Any]:
        """Does what a route says, as EngineRoutes says."""
        try:
            if route in self._asked:
                return await self._asked[route](body)
            return await self._update(route, body)
        except (AssertionError, ValueError) as error:  # SGLang's refusals
            raise InvalidRequest(f"SGLang refuses: {error}") from None

    async def restore(self) -> bool:
        """Loads the checkpoint that was loaded last, as EngineRoutes says."""
        if self._in_session:
            self._in_session = False
            await self._manager.end_weight_update(io_struct.EndWeightUpdateReqInput(), None)
        if self._last is None:
            return False
        version = self._manager.config_value("weight_version")
        again = io_struct.UpdateWeightFromDiskReqInput(
            model_path=self._last, weight_version=version
        )
        success, message, _ = await self._manager.update_weights_from_disk(again, None)
        if not success:
            log.error("the weights before cannot be loaded: %s", message)
        return bool(success)

    async def _pause(self, body: Any) -> dict[str, Any]:
        if body.mode is None:
            body.mode = "abort"
        await self._manager.pause_generation(body)
        return {"status": "ok"}

    async def _continue(self, body: Any) -> dict[str, Any]:
        asked, ignored = body.torch_empty_cache, {}
        if self._on_cpu and asked:
            ignored = {"ignored": ["torch_empty_cache"]}
        # it is CUDA's, and a scheduler ends without one
        body.torch_empty_cache = not self._on_cpu and asked is not False
        await self._manager.continue_generation(body)
        return {"status": "ok", **ignored}

    async def _update_from_disk(self, body: Any) -> dict[str, Any]:
        if not body.unchecked:
            await asyncio.to_thread(self._check, body.model_path)
        taken = io_struct.UpdateWeightFromDiskReqInput(
            **{
                name: getattr(body, name)
                for name in io_struct.UpdateWeightFromDiskReqInput.__struct_fields__
            }
        )
        success, message, paused = await self._manager.update_weights_from_disk(taken, None)
        if not success:
            raise ChangeFailed(message)
        self._last = body.model_path
        count = sum(cast("list[int]", paused if isinstance(paused, list) else [paused]))
        return {"success": True, "message": message, "num_paused_requests": count}

    def _check(self, path: str) -> None:
        """Compares a checkpoint with the one that the engine started with.

        Raises:
            InvalidRequest: it is not there, or not of the same model.
        """
        try:
            found = shapes_of(model_dir_of(path, None))
            if self._shapes is None:
                revision = self._manager.config_value("revision")
                self._shapes = shapes_of(model_dir_of(self._first, revision))
        except (StartError, OSError, ValueError) as error:
            raise InvalidRequest(f"No such checkpoint: {error}.", param="model_path") from None
        if not (found and self._shapes):
            raise InvalidRequest(
                "The tensors cannot be compared, as there are no safetensors files; `unchecked` "
                "loads it all the same.",
                param="model_path",
            )
        if unlike := difference(self._shapes, found):
            raise InvalidRequest(
                f"This is no checkpoint of the model: {unlike}.", param="model_path"
            )

    async def _update(self, route: str, body: Any) -> dict[str, Any]:
        """Loads weights that come over something else than files, in a session of their own if none
        has begun.
        """
        alone = not self._in_session and route != "update_weights_from_ipc"
        if alone:
            await self._begin(io_struct.BeginWeightUpdateReqInput(selector=body.selector))
        answer = _told(*await getattr(self._manager, route)(body, None))
        self._elsewhere = True
        if alone:
            await self._end(io_struct.EndWeightUpdateReqInput())
        elif not self._in_session:
            self._last = None
        return answer

    async def _init_group(self, body: Any) -> dict[str, Any]:
        return _told(*await self._manager.init_weights_update_group(body, None))

    async def _destroy_group(self, body: Any) -> dict[str, Any]:
        success, message = await self._manager.destroy_weights_update_group(body, None)
        if not success:
            raise Conflict(message)
        return _told(success, message)

    async def _begin(self, body: Any) -> dict[str, Any]:
        answer = _told(*await self._manager.begin_weight_update(body, None))
        self._in_session, self._elsewhere = True, False
        return answer

    async def _end(self, body: Any) -> dict[str, Any]:
        self._in_session = False
        answer = _told(*await self._manager.end_weight_update(body, None))
        if self._elsewhere:
            self._last = None
        return answer

    async def _name_weights(self, body: Any) -> dict[str, Any]:
        await self._manager.update_weight_version(body)
        message = f"The weights are {body.new_version} from here on."
        return {"success": True, "message": message, "new_version": body.new_version}

    async def _release(self, body: Any) -> dict[str, Any]:
        await self._manager.release_memory_occupation(body, None)
        return {"status": "ok"}

    async def _resume(self, body: Any) -> dict[str, Any]:
        await self._manager.resume_memory_occupation(body, None)
        return {"status": "ok"}

    async def _start_profile(self, body: Any) -> dict[str, Any]:
        check_profile(body)
        if self._on_cpu:
            if set(body.activities or ()) - {"CPU"}:
                raise InvalidRequest("activities may be CPU here.", param="activities")
            body.activities = ["CPU"]
        return await self._profile(self._manager.start_profile(body), "Profiling started")

    async def _stop_profile(self, _: Any) -> dict[str, Any]:
        return await self._profile(self._manager.stop_profile(), "Profiling stopped")

    async def _profile(self, asked: Awaitable[Any], message: str) -> dict[str, Any]:
        try:
            await asked
        except RuntimeError as error:
            raise Conflict(str(error)) from None
        return {"status": "ok", "message": message}

    async def _model_info(self, _: Any) -> dict[str, Any]:
        return model_info(self._engine, self._name)

    async def _server_info(self, _: Any) -> dict[str, Any]:
        return await server_info(self._engine)


def _told(success: bool, message: str) -> dict[str, Any]:
    if not success:
        raise ChangeFailed(message)
    return {"success": True, "message": message}
