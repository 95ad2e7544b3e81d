"""A rank of SGLang's generator begins here, with each step passing through ours (`steps.py`)."""

import logging
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from workers.process.failure_note import leave_failure_note
from workers.sglang.children import begin
from workers.sglang.diffusion.messages import DIRECTORY, WORLD_FILE
from workers.sglang.diffusion.scheduler_address import meet_in_files
from workers.sglang.diffusion.steps import EXTRA, StepBar, Steps
from workers.sglang.sockets import LOOPBACK_INTERFACE

log = logging.getLogger(__name__)


def run_rank(spec: Any) -> None:
    """Runs a rank in its own process, in place of SGLang's bootstrap_scheduler_process.

    Args:
        spec: SGLang's SchedulerProcessSpec.
    """
    from sglang.multimodal_gen.runtime.managers import worker_bootstrap  # noqa: PLC0415
    from sglang.multimodal_gen.runtime.platforms import initialize_current_platform  # noqa: PLC0415

    begin()
    try:
        initialize_current_platform()  # before anything reads it, as SGLang does
        from sglang.multimodal_gen.runtime.managers import gpu_worker  # noqa: PLC0415

        # SGLang's bootstrap calls it by its module, once everything is imported.
        gpu_worker.run_scheduler_process = _with_hooks(gpu_worker.run_scheduler_process)
        worker_bootstrap.bootstrap_scheduler_process(spec)
    except BaseException as error:
        leave_failure_note(error)
        raise


def _with_hooks(run: Callable[..., None]) -> Callable[..., None]:
    @wraps(run)
    def hooked(*, local_rank: int, rank: int, server_args: Any, pipe_writer: Any) -> None:
        directory = Path(os.environ[DIRECTORY])
        meet_in_files(directory)
        _meet_ranks_in(directory)
        _hook(Steps(directory, rank), alone=server_args.num_gpus == 1)
        run(local_rank=local_rank, rank=rank, server_args=server_args, pipe_writer=pipe_writer)

    return hooked


def _meet_ranks_in(directory: Path) -> None:
    """Has the ranks meet in a file: torch's store listens on every interface of the host, whatever
    it is told.
    """
    from sglang.multimodal_gen.runtime.managers import gpu_worker  # noqa: PLC0415

    os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK_INTERFACE)
    begin_world = gpu_worker.maybe_init_distributed_environment_and_model_parallel

    def begin_in_file(**named: Any) -> None:
        begin_world(**{**named, "distributed_init_method": f"file://{directory / WORLD_FILE}"})

    gpu_worker.maybe_init_distributed_environment_and_model_parallel = begin_in_file


def _hook(steps: Steps, *, alone: bool) -> None:
    """Has SGLang's classes go through `steps`.

    Args:
        alone: there is one rank, which has all that a picture is made of.
    """
    from sglang.multimodal_gen.runtime.managers.gpu_worker import GPUWorker  # noqa: PLC0415
    from sglang.multimodal_gen.runtime.pipelines.diffusers_pipeline import (  # noqa: PLC0415
        DiffusersExecutionStage,
    )
    from sglang.multimodal_gen.runtime.pipelines_core.stages.base import PipelineStage  # noqa: PLC0415
    from sglang.multimodal_gen.runtime.pipelines_core.stages.denoising import (  # noqa: PLC0415
        DenoisingStage,
    )

    from workers.sglang.diffusion.previews import Previews  # noqa: PLC0415

    previews = Previews(steps)
    execute, make_stage = GPUWorker.execute_forward, DiffusersExecutionStage.__init__

    def execute_told(self: Any, batch: Any, *arguments: Any, **named: Any) -> Any:
        request = batch[0]
        steps.begin(None if request.is_warmup else request.extra.get(EXTRA))
        previews.pipeline = self.pipeline
        try:
            return execute(self, batch, *arguments, **named)
        finally:
            steps.begin(None)

    def bar(_stage: Any, iterable: Any = None, total: int | None = None, **_shown: Any) -> StepBar:
        return StepBar(steps, iterable, total)

    def make_counted(self: Any, pipe: Any) -> None:
        make_stage(self, pipe)
        pipe.progress_bar = lambda iterable=None, total=None: StepBar(steps, iterable, total)

    build_guidance = DenoisingStage.get_or_build_guidance

    def guidance_told(self: Any, bsz: int, dtype: Any, device: Any) -> Any:
        # SGLang has what a model was distilled with guide all requests alike
        told = steps.told
        if told is None or told.guidance_scale is None:
            return build_guidance(self, bsz, dtype, device)
        if not self.server_args.pipeline_config.should_use_guidance:
            return None
        return self._build_guidance(bsz, dtype, device, told.guidance_scale)

    GPUWorker.execute_forward = execute_told
    DenoisingStage.get_or_build_guidance = guidance_told
    PipelineStage.progress_bar = bar
    DiffusersExecutionStage.__init__ = make_counted
    if alone:
        previews.hook()
