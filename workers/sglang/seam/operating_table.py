"""kvmesh relies on these names in SGLang 0.5.23 to do what an operator asks.

Imports no SGLang.
"""

from typing import Final

from workers.sglang.seam.relied import Relied

_MANAGER: Final = "srt.managers.tokenizer_manager:TokenizerManager."
_CONTROL: Final = "srt.managers.tokenizer_control_mixin:TokenizerControlMixin."
_UPDATER: Final = "srt.managers.scheduler_components.weight_updater:SchedulerWeightUpdaterManager."
_PROFILER: Final = "srt.managers.scheduler_components.profiler_manager:SchedulerProfilerManager."
_OURS: Final = "operating.py"
_GUARDED: Final = "guarded_changes.py"

OPERATING: Final = (
    Relied(
        name=_CONTROL + "flush_cache",
        used_in=_OURS,
        why="Tells of the first rank alone; ours asks its communicator, and all ranks.",
        parameters=("self", "timeout_s"),
        says=("self.flush_cache_communicator(", "self.mm_processor.clear_preprocess_cache()"),
    ),
    Relied(
        name=_MANAGER + "pause_generation",
        used_in=_OURS,
        why="Holds what runs, or waits until nothing does.",
        parameters=("self", "obj"),
        says=("await self.model_update_lock.is_locked()",),
    ),
    Relied(
        name=_MANAGER + "continue_generation",
        used_in=_OURS,
        why="Ends a pause.",
        parameters=("self", "obj"),
    ),
    Relied(
        name=_MANAGER + "update_weights_from_disk",
        used_in=_OURS,
        why="Says of all ranks whether they loaded a checkpoint.",
        parameters=("self", "obj", "request"),
    ),
    *(
        Relied(
            name=_CONTROL + name,
            used_in=_OURS,
            why=why,
            parameters=("self", "obj", "request"),
        )
        for name, why in (
            ("update_weights_from_tensor", "Loads tensors, within a session."),
            ("update_weights_from_distributed", "Receives tensors, within a session."),
            ("update_weights_from_ipc", "Receives a checkpoint from another process."),
            ("begin_weight_update", "Begins a session."),
            ("end_weight_update", "Ends it."),
            ("init_weights_update_group", "Joins a group of processes."),
            ("destroy_weights_update_group", "Leaves it."),
            ("release_memory_occupation", "Ends the schedulers unless they have nothing to do."),
            ("resume_memory_occupation", "Ends them where nothing was released."),
        )
    ),
    Relied(
        name=_CONTROL + "update_weight_version",
        used_in=_OURS,
        why="Names the weights, here and in the schedulers.",
        parameters=("self", "obj"),
    ),
    Relied(
        name=_CONTROL + "start_profile",
        used_in=_OURS,
        why="Raises RuntimeError with what a scheduler says.",
        parameters=("self", "req"),
    ),
    Relied(
        name=_UPDATER + "update_weights_from_disk",
        used_in=_GUARDED,
        why="Ours answers what it raises, as of the other methods that load weights.",
        parameters=("self", "recv_req"),
    ),
    *(
        Relied(
            name=_UPDATER + name,
            used_in=_GUARDED,
            why="A rank on which it raises waits where the others of its group do, at its end.",
            parameters=("self", "recv_req"),
            says=("torch.distributed.barrier(group=self.tp_cpu_group)",),
        )
        for name in (
            "update_weights_from_tensor",
            "update_weights_from_ipc",
            "begin_weight_update",
            "end_weight_update",
        )
    ),
    Relied(
        name=_PROFILER + "_profile",
        used_in=_GUARDED,
        why="Ours refuses what could not be written, and a second profile beside the first.",
        parameters=("self", "recv_req"),
        says=("ProfileReqType.START_PROFILE",),
    ),
)
