"""kvmesh relies on these names in SGLang 0.5.23 where text is made by diffusion.

Imports no SGLang.
"""

from typing import Final

from workers.sglang.seam.relied import Relied

_USED_IN: Final = "text_diffusion.py"
_PARTS: Final = "srt.managers.scheduler_components."

TEXT_DIFFUSION: Final = (
    Relied(
        name="srt.dllm.config:DllmConfig",
        used_in=_USED_IN,
        why="Says which algorithm there is, and how many tokens a block has.",
        fields=("algorithm", "block_size"),
    ),
    Relied(
        name="srt.dllm.config:DllmConfig.from_server_args",
        used_in=_USED_IN,
        why="Is made of an engine's arguments; None where text is made token by token.",
        parameters=("server_args",),
        says=("if cfg.dllm_algorithm is None:",),
    ),
    Relied(
        name="srt.dllm.mixin.scheduler:SchedulerDllmMixin._finish_dllm_request_if_needed",
        used_in=_USED_IN,
        why="Ends a request where the context has no room for a whole block.",
        says=("req.seqlen + self.dllm_config.block_size > self.model_config.context_len",),
    ),
    Relied(
        name=_PARTS + "output_streamer:_GenerationStreamAccumulator.accept",
        used_in=_USED_IN,
        why="Tells of every step only where the interval is 1, and of blocks otherwise.",
        says=(
            "stream_interval == 1",
            "or num_unsent >= stream_interval",
            "or (req.send_token_offset == 0 and num_unsent > 0)",
        ),
    ),
    Relied(
        name=_PARTS + "load_inquirer:SchedulerLoadInquirer.get_loads",
        used_in=_USED_IN,
        why="Counts none of what diffusion has taken from the queue; ours does.",
        says=("num_running_reqs = len(self.get_running_batch().reqs)",),
    ),
)
"""Engines that make text by diffusion are known by these."""
