"""kvmesh relies on these names in SGLang 0.5.23 to encode pictures apart from their prompts.

Imports no SGLang.
"""

from typing import Final

from workers.sglang.seam.relied import Relied

_SERVER: Final = "srt.disaggregation.encoder.server:"
_PREPROCESSOR: Final = "srt.disaggregation.encoder.preprocessor:"
_MANAGER: Final = "srt.managers.tokenizer_manager:TokenizerManager."
_ENCODER: Final = "encoder.py"
_LONE: Final = "seam/lone_manager.py"

ENCODING: Final = (
    Relied(
        name=_SERVER + "MMEncoder.__init__",
        used_in=_ENCODER,
        why="Loads the part of a model that sees, once SGLang's configuration is published.",
        parameters=("self", "server_args", "schedule_path", "dist_init_method", "rank", "gpu_id"),
        says=("self.model_config = ", "self.preprocessor = ", "self.device = "),
    ),
    Relied(
        name=_SERVER + "MMEncoder._prepare_encode_context",
        used_in=_ENCODER,
        why="Makes of pictures, which Pillow has read, what the model takes.",
        parameters=("self", "requests", "modality", "use_global_cache", "is_health_check"),
    ),
    Relied(
        name=_SERVER + "MMEncoder._compute_embedding",
        used_in=_ENCODER,
        why="Encodes that: the vectors of all pictures, one behind the other.",
        parameters=("self", "ctx", "keep_on_gpu"),
    ),
    Relied(
        name=_SERVER + "EncodeContext",
        used_in=_ENCODER,
        why="Has what was prepared.",
        fields=("preprocess_result",),
    ),
    Relied(
        name=_PREPROCESSOR + "EncoderPreprocessResult",
        used_in=_ENCODER,
        why="Tells the grid and the tokens of each picture.",
        fields=("grid_thw", "token_counts"),
    ),
    Relied(
        name=_PREPROCESSOR + "EncoderPreprocessor._build_vision_config",
        used_in=_ENCODER,
        why=(
            "Takes the options of pictures from another place of --mm-process-config than the "
            "engine does; ours adds those of the engine's."
        ),
        says=('mm_process_config.get("vision_config", {})', "self.vision_config["),
    ),
    Relied(
        name=_PREPROCESSOR + "EncoderPreprocessor._load_single_item",
        used_in=_ENCODER,
        why="Takes pictures that are read already.",
        says=("load_image(data, gpu_image_decode)",),
    ),
)
"""An encoder is loaded and used by these names, and imported by nothing else."""

PROCESSING: Final = (
    Relied(
        name=_MANAGER + "__init__",
        used_in=_LONE,
        why="Begins with what a processor needs, which ours ends with.",
        says=("self.init_model_config()", "self.init_tokenizer_and_processor()"),
    ),
    Relied(
        name=_MANAGER + "init_model_config",
        used_in=_LONE,
        why="Reads the model's configuration, names and limits.",
        parameters=("self",),
        says=("self.model_config = ", "self.context_len = ", "self.served_model_name = "),
    ),
    Relied(
        name=_MANAGER + "init_tokenizer_and_processor",
        used_in=_LONE,
        why="Loads tokenizer and processors.",
        parameters=("self",),
        says=("self.mm_processor = ", "self.processor = _processor", "self.tokenizer = "),
    ),
    Relied(
        name="srt.entrypoints.engine:init_tokenizer_manager",
        used_in=_LONE,
        why="Makes it, and loads the chat template.",
        parameters=("server_args", "port_args", "TokenizerManagerClass"),
    ),
    Relied(
        name="srt.multimodal.processors.base_processor:BaseMultimodalProcessor.__init__",
        used_in="processor.py",
        why="Knows the options of pictures.",
        says=("self.image_config = ",),
    ),
)
"""A processor is made by these names."""
