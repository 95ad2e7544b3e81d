"""kvmesh relies on these names in SGLang 0.5.23 to make pictures and videos.

Imports no SGLang.
"""

from typing import Final

from workers.sglang.seam.relied import Relied

_GEN: Final = "multimodal_gen.runtime."
_GENERATOR: Final = _GEN + "entrypoints.diffusion_generator:DiffGenerator."
_STAGES: Final = _GEN + "pipelines_core.stages."
_RANK: Final = "diffusion/rank.py"
_TOLD: Final = "diffusion/told_generator.py"
_PREVIEWS: Final = "diffusion/previews.py"
_ORDERS: Final = "diffusion/orders.py"

DIFFUSION: Final = (
    Relied(
        name=_GENERATOR + "generate",
        used_in=_TOLD,
        why="Logs what a request failed of and returns None; ours reads that record.",
        parameters=("self", "sampling_params_kwargs", "external_trace_header"),
        says=(
            'logger.error("Generation failed: %s", e, exc_info=True)',
            "self._send_to_scheduler_and_wait_for_response(",
        ),
    ),
    Relied(
        name=_GENERATOR + "_send_to_scheduler_and_wait_for_response",
        used_in=_TOLD,
        why="Sends requests to rank 0; ours adds what the ranks are to do besides.",
        parameters=("self", "batch"),
    ),
    Relied(
        name=_GENERATOR + "_create",
        used_in=_TOLD,
        why="Makes a generator of the class that it is called on.",
        says=("instance = cls(", "instance.local_scheduler_process = "),
    ),
    Relied(
        name=_GEN + "launch_server:_start_scheduler_processes",
        used_in=_TOLD,
        why="Starts the ranks by a name of its module, ours instead.",
        says=("target=bootstrap_scheduler_process,", 'context = mp.get_context("spawn")'),
    ),
    Relied(
        name=_GEN + "managers.worker_bootstrap:bootstrap_scheduler_process",
        used_in=_RANK,
        why="Runs a rank, by a name of another module, which ours is put in front of.",
        parameters=("spec",),
        says=("gpu_worker.run_scheduler_process(",),
    ),
    Relied(
        name=_GEN + "managers.gpu_worker:run_scheduler_process",
        used_in=_RANK,
        why="Loads the model and serves; ours has put its hooks in place before.",
        parameters=("local_rank", "rank", "server_args", "pipe_writer"),
    ),
    Relied(
        name=_GEN + "managers.gpu_worker:GPUWorker.init_device_and_model",
        used_in=_RANK,
        why="Has the ranks meet at a port, ours in a file.",
        says=(
            "maybe_init_distributed_environment_and_model_parallel(",
            "distributed_init_method=",
            "self.pipeline = build_pipeline(",
        ),
    ),
    Relied(
        name=_GEN + "managers.gpu_worker:GPUWorker.execute_forward",
        used_in=_RANK,
        why="Runs a request on every rank; ours notes which order it belongs to.",
        parameters=("self", "batch", "return_req", "defer_finalize"),
    ),
    Relied(
        name=_GEN + "managers.gpu_worker:GPUWorker._execute_forward_common",
        used_in=_RANK,
        why="Answers with what was raised, by which ours leaves an order, and goes on.",
        says=('output_batch.error = f"Error executing {error_context}: {e}"',),
    ),
    Relied(
        name=_STAGES + "base:PipelineStage.progress_bar",
        used_in=_RANK,
        why="Makes what all loops count their steps with; ours tells them, and may end them.",
        parameters=("self", "iterable", "total", "disable", "batch", "kwargs"),
    ),
    Relied(
        name=_GEN + "pipelines.diffusers_pipeline:DiffusersExecutionStage.__init__",
        used_in=_RANK,
        why="Takes a pipeline of diffusers, whose bar ours replaces.",
        parameters=("self", "diffusers_pipe"),
    ),
    Relied(
        name=_GEN + "server_args:ServerArgs.scheduler_endpoint_for",
        used_in="diffusion/scheduler_address.py",
        why="Says where rank 0 unpickles what arrives: a port, ours a file of this user.",
        parameters=("self", "replica"),
    ),
    Relied(
        name=_GEN + "server_args:ServerArgs.is_arg_explicitly_set",
        used_in="cpu/number_format.py",
        why="Knows whether an argument was given, in a file or on the command line.",
        parameters=("self", "arg_name"),
    ),
    Relied(
        name=_GEN + "utils.precision:resolve_precision",
        used_in="cpu/number_format.py",
        why="Reads a precision from the pipeline's configuration where no component has its own.",
        says=("server_args.component_precisions.get(", "getattr(server_args.pipeline_config, "),
    ),
    Relied(
        name=_GEN + "server_args:ServerArgs.from_cli_args",
        used_in="diffusion/arguments.py",
        why="Takes defaults, and says what of the command line it does not know.",
        parameters=("args", "unknown_args", "default_args", "argv"),
    ),
    Relied(
        name="multimodal_gen.configs.sample.sampling_params:SamplingParams"
        ".from_user_sampling_params_args",
        used_in=_ORDERS,
        why="Completes a request by what the model has for it, and refuses what cannot be.",
    ),
    Relied(
        name="multimodal_gen.configs.sample.sampling_params:SamplingParams",
        used_in=_ORDERS,
        why="Has what an order says.",
        fields=(
            "fps", "guidance_scale", "height", "image_path", "negative_prompt", "num_frames",
            "num_inference_steps", "output_file_name", "output_path", "prompt", "return_frames",
            "save_output", "seed", "suppress_logs", "width",
        ),
    ),
    Relied(
        name=_STAGES + "denoising:DenoisingStage._run_denoising_step",
        used_in=_PREVIEWS,
        why="Makes a step of most pipelines; ours looks at what it has made.",
        parameters=("self", "ctx", "step", "batch", "server_args"),
        says=("ctx.latents = latents",),
    ),
    Relied(
        name=_STAGES + "denoising:DenoisingStage.get_or_build_guidance",
        used_in=_RANK,
        why="Takes a distilled model's guidance from its configuration; ours from the request.",
        parameters=("self", "bsz", "dtype", "device"),
        says=("self._build_guidance(", "pipeline_config.should_use_guidance"),
    ),
    Relied(
        name=_STAGES + "decoding:DecodingStage.decode",
        used_in=_PREVIEWS,
        why="Makes a picture of latents.",
        parameters=("self", "latents", "server_args", "vae_dtype", "on_frames"),
    ),
)  # fmt: skip
