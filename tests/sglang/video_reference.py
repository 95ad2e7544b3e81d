"""Run as a program: print what transformers generates of chats with videos.

    python video_reference.py DIRECTORY MAX_NEW_TOKENS < chats.json > outputs.json

A chat is a list of texts and of pictures and videos (data URLs) of one user message; an output is
the token ids, and the number of the prompt's. Frames are taken from videos and scaled as SGLang
does it for Qwen's models, here in other words. A program, since pytest's process must not import
torch.
"""

import base64
import io
import json
import math
import os
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from workers.sglang.cpu import activate_if_cpu_host

activate_if_cpu_host()  # transformers imports torchvision, which needs the stand-ins

import transformers  # noqa: E402
from decord import VideoReader  # noqa: E402
from PIL import Image  # noqa: E402
from torchvision.transforms.functional import resize  # noqa: E402
from transformers import AutoProcessor  # noqa: E402

PIXELS_MIN = 128 * 28 * 28
SIDE = 28


def frames(data: bytes) -> tuple[torch.Tensor, dict[str, Any]]:
    """Two frames a second and at least four, an even number, scaled up; and what they are of."""
    file = os.memfd_create("video")
    os.write(file, data)
    video = VideoReader(f"/proc/self/fd/{file}")
    total, fps = len(video), video.get_avg_fps()
    count = min(max(total / fps * 2, 4), total) // 2 * 2
    numbers = torch.linspace(0, total - 1, int(count), dtype=torch.float64).long().tolist()
    taken = torch.from_numpy(video.get_batch(numbers).asnumpy()).permute(0, 3, 1, 2)
    os.close(file)
    height, width = taken.shape[2:]
    by = math.sqrt(PIXELS_MIN / (height * width))
    assert by > 1, "a small video, or this scales otherwise than SGLang"
    size = [math.ceil(side * by / SIDE) * SIDE for side in (height, width)]
    told = {"fps": fps, "total_num_frames": total, "frames_indices": numbers}
    return resize(taken, size), told | {"duration": total / fps}


def attend_across_frames() -> None:
    """Have Qwen2.5-VL's layers of full attention take all frames of a video together, as SGLang
    0.5.23 does; Qwen's own code takes each pair of frames apart.
    """
    modeling: Any = import_module("transformers.models.qwen2_5_vl.modeling_qwen2_5_vl")
    modeling.get_vision_attention_seqlens = partial(
        modeling.get_vision_attention_seqlens, merge_temporal=True
    )


def greedy(directory: Path, max_new_tokens: int) -> None:
    if directory.name == "qwen2.5-vl":
        attend_across_frames()
    processor = AutoProcessor.from_pretrained(directory)
    model = transformers.AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32)
    model.generation_config.eos_token_id = None  # no token ends an answer, and none is ruled out
    outputs = []
    for chat in json.load(sys.stdin):
        content, images, videos = [], [], []
        for part in chat:
            kind, _, data = part.partition(";base64,")
            if kind.startswith("data:image/"):
                content.append({"type": "image"})
                images.append(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
            elif kind.startswith("data:video/"):
                content.append({"type": "video"})
                videos.append(frames(base64.b64decode(data)))
            else:
                content.append({"type": "text", "text": part})
        text = processor.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        told: dict[str, Any] = {}
        if videos and directory.name == "qwen3-vl":  # whose prompts have the time of each frame
            told = {"video_metadata": [each[1] for each in videos], "do_sample_frames": False}
        given = processor(
            text=[text],
            images=images or None,
            videos=[each[0] for each in videos] or None,
            return_tensors="pt",
            **told,
        )
        out = model.eval().generate(
            **given,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=0,
        )
        prompt_tokens = given["input_ids"].shape[1]
        outputs.append([out[0, prompt_tokens:].tolist(), prompt_tokens])
    json.dump(outputs, sys.stdout)


if __name__ == "__main__":
    torch.set_num_threads(1)
    greedy(Path(sys.argv[1]), int(sys.argv[2]))
