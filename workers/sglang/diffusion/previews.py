"""A rank that works alone shows what a picture looks like on the way, where that is cheap.

Pipelines of SGLang's own do whose steps are its common ones and whose decoder stays on the device:
Flux, Stable Diffusion 3, Qwen-Image, Z-Image and others. What a step leaves is mostly noise, so
what is shown is what the model took the picture for in that step.
"""

import logging
from pathlib import Path
from typing import Any

from workers.sglang.diffusion.files import picture_file
from workers.sglang.diffusion.messages import Told
from workers.sglang.diffusion.steps import Steps

log = logging.getLogger(__name__)


class Previews:
    """Previews are made of steps of a rank's pipeline.

    Attributes:
        pipeline: SGLang's, whose stages decode.
    """

    def __init__(self, steps: Steps) -> None:
        self.pipeline: Any = None
        self._steps = steps

    def hook(self) -> None:
        """Has SGLang's steps show what they make."""
        from sglang.multimodal_gen.runtime.pipelines_core.stages.denoising import (  # noqa: PLC0415
            DenoisingStage,
        )

        run_step, previews = DenoisingStage._run_denoising_step, self

        def run_shown(self: Any, ctx: Any, step: Any, batch: Any, server_args: Any) -> None:
            told = previews._steps.told
            if told is None or not due(step.step_index, len(ctx.timesteps), told.previews):
                run_step(self, ctx, step, batch, server_args)
                return
            before = ctx.latents
            run_step(self, ctx, step, batch, server_args)
            try:
                guess = _guess(ctx, step, before)
                previews._show(told, step.step_index, guess, batch, server_args)
            except Exception:
                log.warning("no preview of this pipeline's pictures", exc_info=True)

        DenoisingStage._run_denoising_step = run_shown

    def _show(
        self, told: Told, step_index: int, latents: Any, batch: Any, server_args: Any
    ) -> None:
        decoding = self._decoding(latents)
        if decoding is None or told.format == "mp4":
            return
        from sglang.multimodal_gen.configs.task_type import DataType  # noqa: PLC0415
        from sglang.multimodal_gen.runtime.entrypoints.utils import post_process_sample  # noqa: PLC0415
        from sglang.multimodal_gen.runtime.utils.precision import resolve_decode_precision  # noqa: PLC0415

        dtype = resolve_decode_precision(server_args, decoding.component_name)
        config = server_args.pipeline_config
        decoded = decoding.decode(
            config.post_denoising_loop(latents, batch), server_args, vae_dtype=dtype
        )
        sample = config.post_decoding(decoded, server_args)[0]
        frame = post_process_sample(sample, DataType.IMAGE, 1, save_output=False)[0]
        name = f"preview-{told.index}-{step_index}.{told.format}"
        path = Path(told.into) / name
        self._steps.preview = picture_file(frame, path, told.format, told.compression)

    def _decoding(self, latents: Any) -> Any:
        """Returns the pipeline's stage that decodes, if it is SGLang's common one and its model is
        where the latents are.
        """
        from sglang.multimodal_gen.runtime.pipelines_core.stages.decoding import DecodingStage  # noqa: PLC0415

        for stage in self.pipeline.stages:
            if type(stage) is DecodingStage:
                weights = next(stage.vae.parameters(), None)
                return stage if weights is not None and weights.device == latents.device else None
        return None


def due(step_index: int, steps: int, previews: int) -> bool:
    """Tells whether a preview is made behind this step: they divide the way into equal parts, and
    the last step's picture is the output.
    """
    return any(
        step_index == max(0, steps * part // (previews + 1) - 1) for part in range(1, previews + 1)
    )


def _guess(ctx: Any, step: Any, before: Any) -> Any:
    """Returns the latents of the picture that the model saw in the noise: as far as it moved in
    this step, continued to the end, where the scheduler's sigmas are those of a straight way.
    """
    sigmas = getattr(ctx.scheduler, "sigmas", None)
    if sigmas is None or len(sigmas) <= step.step_index + 1:
        return ctx.latents
    here, there = float(sigmas[step.step_index]), float(sigmas[step.step_index + 1])
    if not 0 <= there < here <= 1:
        return ctx.latents
    return (ctx.latents + (ctx.latents - before) * (there / (here - there))).to(ctx.latents.dtype)
