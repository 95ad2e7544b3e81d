"""SGLang's schedulers outlive what fails of that which an operator asks.

Runs in their processes; imports SGLang.

SGLang 0.5.23 lets an exception in a weight update or a profile end the scheduler, and the engine
with it: bytes that are no tensors, a directory that cannot be written. Where it goes back to the
weights before, it reads them from where the new ones lie. Of the ranks of tensor parallelism the
first one alone tells how it went. And a profile that is begun twice loses both.
"""

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

import torch
from sglang.srt.managers import io_struct
from sglang.srt.managers.scheduler_components.profiler_manager import SchedulerProfilerManager
from sglang.srt.managers.scheduler_components.weight_updater import SchedulerWeightUpdaterManager

log = logging.getLogger(__name__)

GUARDED: Final = {
    "update_weights_from_disk": io_struct.UpdateWeightFromDiskReqOutput,
    "update_weights_from_distributed": io_struct.UpdateWeightsFromDistributedReqOutput,
    "update_weights_from_tensor": io_struct.UpdateWeightsFromTensorReqOutput,
    "update_weights_from_ipc": io_struct.UpdateWeightsFromIPCReqOutput,
    "init_weights_update_group": io_struct.InitWeightsUpdateGroupReqOutput,
    "destroy_weights_update_group": io_struct.DestroyWeightsUpdateGroupReqOutput,
    "begin_weight_update": io_struct.BeginWeightUpdateReqOutput,
    "end_weight_update": io_struct.EndWeightUpdateReqOutput,
}
"""These of SGLang's methods answer with a struct that has `success` and `message`."""

_BARRED: Final = (
    "update_weights_from_tensor",
    "update_weights_from_ipc",
    "begin_weight_update",
    "end_weight_update",
)
"""At the end of these methods of SGLang's the ranks of tensor parallelism wait for each other."""

_collective: Any = torch.distributed

_ACTIVITIES: Final = ("CPU", "GPU", "MEM", "CUDA_PROFILER")


def guard_changes() -> None:
    """Puts the changes of SGLang's schedulers in place, in this process."""
    for name, answer in GUARDED.items():
        plain = getattr(SchedulerWeightUpdaterManager, name)
        waits = _others_awaited if name in _BARRED else None
        guarded = _agreed(_guarded(plain, answer, waits), answer)
        setattr(SchedulerWeightUpdaterManager, name, guarded)
    profiler: Any = SchedulerProfilerManager
    profiler._profile = _guarded(_checked(profiler._profile), io_struct.ProfileReqOutput)


def _guarded(
    plain: Callable[..., Any],
    answer: Callable[..., Any],
    on_failure: Callable[[Any], None] | None = None,
) -> Callable[..., Any]:
    """Returns what answers that it failed where `plain` raises, after `on_failure`."""

    @wraps(plain)
    def guarded(self: Any, asked: Any) -> Any:
        try:
            return plain(self, asked)
        except Exception as error:
            log.exception("%s failed", plain.__name__)
            if on_failure is not None:
                on_failure(self)
            return answer(success=False, message=f"{type(error).__name__}: {error}")

    return guarded


def _others_awaited(updater: Any) -> None:
    """Waits where the other ranks of tensor parallelism do, who may not have failed."""
    _collective.barrier(group=updater.tp_cpu_group)


def _agreed(guarded: Callable[..., Any], answer: Callable[..., Any]) -> Callable[..., Any]:
    """Returns what fails on every rank of tensor parallelism if it failed on one: weights would be
    those of two models.
    """

    @wraps(guarded)
    def agreed(self: Any, asked: Any) -> Any:
        told = guarded(self, asked)
        group = self.tp_cpu_group
        ranks: list[Any] = [None] * _collective.get_world_size(group)
        if len(ranks) == 1:
            return told
        own = (told.success, told.message)
        _collective.all_gather_object(ranks, own, group=group)
        failed = [(rank, message) for rank, (success, message) in enumerate(ranks) if not success]
        if not told.success or not failed:
            return told
        rank, message = failed[0]
        return answer(success=False, message=f"TP rank {rank}: {message}")

    return agreed


def _checked(profile: Callable[..., Any]) -> Callable[..., Any]:
    """Returns what begins no profile that could not be written, or while there is one."""

    @wraps(profile)
    def checked(self: Any, asked: Any) -> Any:
        if asked.req_type == io_struct.ProfileReqType.START_PROFILE:
            if self.profile_in_progress:
                raise ValueError("a profile has begun already: stop_profile first")
            unknown = set(asked.activities or ()) - set(_ACTIVITIES)
            if unknown:
                raise ValueError(f"activities may be {', '.join(_ACTIVITIES)}")
            if asked.output_dir is not None:
                directory = Path(asked.output_dir).expanduser()
                directory.mkdir(parents=True, exist_ok=True)
                probe = directory / f".{asked.profile_prefix or ''}{asked.profile_id}"
                probe.touch()
                probe.unlink(missing_ok=True)  # another rank's, perhaps
        return profile(self, asked)

    return checked
