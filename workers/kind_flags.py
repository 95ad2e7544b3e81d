"""The flags that say of which type a worker is, where the arguments of its engine do not."""

from dataclasses import dataclass

from protocol.process.settings import setting
from protocol.process.start_error import StartError


@dataclass(frozen=True, kw_only=True)
class KindFlags:
    """KindFlags are those of a worker's settings that choose its type."""

    embedding_worker: bool = setting(
        default=False,
        help_text="serve vectors of texts instead of answers (the engine's --is-embedding)",
        env="DYN_SGL_EMBEDDING_WORKER",
    )
    multimodal_processor: bool = setting(
        default=False,
        help_text=(
            "make pixels of pictures, and prompts of chats, for other workers: the model's "
            "processor alone, without its weights"
        ),
        env="DYN_SGL_MULTIMODAL_PROCESSOR",
    )
    multimodal_encode_worker: bool = setting(
        default=False,
        help_text="make vectors of pictures for other workers: the model's encoder alone",
        env="DYN_SGL_MULTIMODAL_ENCODE_WORKER",
    )
    multimodal_worker: bool = setting(
        default=False,
        help_text="take, instead of pictures, what encode workers and processors make of them",
        env="DYN_SGL_MULTIMODAL_WORKER",
    )
    enable_multimodal: bool = setting(
        default=False,
        help_text=(
            "newer spelling: with --disaggregation-mode encode the same as "
            "--multimodal-encode-worker, with --dedicated-mm-encoder as --multimodal-worker"
        ),
        env="DYN_SGL_ENABLE_MULTIMODAL",
    )
    dedicated_mm_encoder: bool = setting(
        default=False,
        help_text="newer spelling: pictures are encoded by encode workers",
        env="DYN_SGL_DEDICATED_MM_ENCODER",
    )
    image_diffusion_worker: bool = setting(
        default=False,
        help_text="make pictures of prompts: a diffusion pipeline instead of a language model",
        env="DYN_SGL_IMAGE_DIFFUSION_WORKER",
    )
    video_generation_worker: bool = setting(
        default=False,
        help_text="make videos of prompts and pictures, likewise",
        env="DYN_SGL_VIDEO_GENERATION_WORKER",
    )

    def check_kind(self) -> None:
        """Refuses flags of several kinds.

        Raises:
            StartError: they exclude each other, or one goes with another that is missing.
        """
        asked = {
            "--embedding-worker": self.embedding_worker,
            "--multimodal-processor": self.multimodal_processor,
            "--multimodal-encode-worker": self.multimodal_encode_worker,
            "--multimodal-worker": self.multimodal_worker,
            "--image-diffusion-worker": self.image_diffusion_worker,
            "--video-generation-worker": self.video_generation_worker,
        }
        named = [flag for flag, given in asked.items() if given]
        if len(named) > 1:
            raise StartError(f"{' and '.join(named)} exclude each other: a worker is of one kind")
        if self.dedicated_mm_encoder and not self.enable_multimodal:
            raise StartError("--dedicated-mm-encoder goes with --enable-multimodal")
