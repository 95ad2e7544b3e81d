"""kvmesh relies on these names in SGLang 0.5.23 to keep the reading of videos and sounds out of its
worker.

Imports no SGLang.
"""

from typing import Final

from workers.sglang.seam.relied import Relied

_VIDEOS: Final = "seam/videos.py"
_DECODER: Final = "srt.utils.video_decoder:VideoDecoderWrapper."
_COMMON: Final = "srt.utils.common:"

WATCHING: Final = (
    Relied(
        name=_COMMON + "load_video",
        used_in=_VIDEOS,
        why="Makes the wrapper of a video's decoder, ours instead.",
        says=("return VideoDecoderWrapper(source, device=device)",),
    ),
    Relied(
        name=_COMMON + "load_audio",
        used_in=_VIDEOS,
        why="Decodes a sound in this process; ours asks another one.",
        parameters=("audio_file", "sr", "mono"),
    ),
    Relied(
        name=_DECODER + "__init__",
        used_in=_VIDEOS,
        why="Opens a video in this process; ours opens none.",
        parameters=("self", "source", "device", "num_decode_threads"),
        says=("self._source_bytes = ", "self._source_path = ", "self._tmp_path = "),
    ),
    Relied(
        name=_DECODER + "get_frames_at",
        used_in=_VIDEOS,
        why="Decodes frames; ours asks another process for them.",
        parameters=("self", "indices"),
    ),
    Relied(
        name=_DECODER + "get_frames_as_tensor",
        used_in=_VIDEOS,
        why="The same, as a tensor.",
        parameters=("self", "indices"),
    ),
    Relied(
        name="srt.managers.tokenizer_manager:TokenizerManager._validate_one_request",
        used_in="seam/steps.py",
        why="Is told of a prompt with its media, whose length ours bounds the answer by.",
        parameters=("self", "obj", "input_ids"),
        says=('max_new_tokens = obj.sampling_params.get("max_new_tokens")',),
    ),
    Relied(
        name="srt.managers.tokenizer_manager:TokenizerManager._tokenize_one_request",
        used_in=_VIDEOS,
        why="Has the media of a request processed; ours does it on a loop of its own.",
        says=("await self.mm_processor.process_mm_data_async(", "request_obj=obj,"),
    ),
)
"""An engine that sees or hears relies on these."""
