"""kvmesh relies on these names in SGLang 0.5.23 to be told by schedulers themselves what requests
put out.

Imports no SGLang.
"""

from typing import Final

from workers.sglang.seam.relied import Relied

_COLLECTED: Final = (
    "srt.managers.scheduler_components.output_streamer:_GenerationStreamAccumulator."
)
_STEPS: Final = "seam/steps.py"
_IDS_ALONE: Final = "ids_alone.py"

TOLD: Final = (
    Relied(
        name="srt.managers.io_struct:BatchTokenIDOutput",
        used_in=_STEPS,
        why="A step of nothing but more tokens is told by these.",
        fields=("rids", "output_ids", "finished_reasons"),
    ),
    Relied(
        name="srt.managers.scheduler_components.ipc_channels:SchedulerIpcChannels.create",
        used_in=_IDS_ALONE,
        why="Sends what requests put out to this address, which ours makes the worker's.",
        says=("context, zmq.PUSH, port_args.detokenizer_ipc_name, False",),
    ),
    Relied(
        name=_COLLECTED + "to_payload",
        used_in=_IDS_ALONE,
        why="Makes the message of a step; ours leaves out the times of what does not end in it.",
        parameters=("self", "dp_rank", "is_idle_batch"),
        says=("time_stats=wrap_as_pickle(self.time_stats),",),
    ),
    Relied(
        name=_COLLECTED + "accept",
        used_in=_IDS_ALONE,
        why="Takes a request's times and its reason to end side by side.",
        says=("self.time_stats.append(req.time_stats)", "self.finished_reasons.append("),
    ),
    Relied(
        name="srt.managers.multi_tokenizer_mixin:_handle_output_by_indices",
        used_in=_STEPS,
        why="Takes out of a step what needs more than its tokens to be taken, or raises"
        " _CannotSplitBatch.",
        parameters=("output", "indices"),
    ),
    Relied(
        name="srt.managers.io_struct:sock_recv",
        used_in="seam/arrivals.py",
        why="Takes a message from a plain socket.",
        parameters=("socket", "flags"),
    ),
    Relied(
        name="srt.managers.schedule_batch:Req.init_incremental_detokenize",
        used_in=_IDS_ALONE,
        why="Keeps the ids that a detokenizer needs; nothing, where there is none.",
        parameters=("self",),
        says=("return self.surr_and_decode_ids, self.read_offset - self.surr_offset",),
    ),
    Relied(
        name="srt.entrypoints.engine:Engine._launch_detokenizer_subprocesses",
        used_in=_STEPS,
        why="Starts what makes text of ids; ours starts nothing.",
        parameters=("server_args", "port_args", "run_detokenizer_process_func"),
    ),
)
