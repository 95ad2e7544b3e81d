"""Greedy decoding with transformers, of prompts with pictures, and how sure the model was."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from tests.demo_model.decoding import Decoded, end_ids
from tests.demo_model.hugging_face import declare_vision_operators
from tests.demo_vision.model import load

TOKENS_MAX = 48


class Seer:
    """The model with the processor of its folder, as any client of transformers gets them."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        declare_vision_operators()
        from transformers import AutoProcessor  # noqa: PLC0415  # not before the operators

        self.processor: Any = AutoProcessor.from_pretrained(folder)
        self.model = load(folder, dtype)

    def text_of(self, messages: Any, tools: Any = None) -> str:
        """The prompt as text, with one placeholder a picture."""
        return self.processor.tokenizer.apply_chat_template(
            messages, tools=tools or None, tokenize=False, add_generation_prompt=True
        )

    def prompt_tokens(self, text: str, pictures: Sequence[NDArray[Any]]) -> tuple[int, int]:
        """How many tokens the whole prompt has, and how many of them are pictures."""
        ids = self._inputs(text, pictures)["input_ids"][0]
        return len(ids), int((ids == self.model.config.image_token_id).sum())

    @torch.inference_mode()
    def decode(self, text: str, pictures: Sequence[NDArray[Any]]) -> Decoded:
        """The answer to a prompt; pictures of shape [height, width, 3]."""
        inputs = self._inputs(text, pictures)
        out = self.model.generate(
            **inputs,
            max_new_tokens=TOKENS_MAX,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        ends = end_ids(self.processor.tokenizer)
        chosen = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        leads = [row[0].float().topk(2).values for row in out.logits]
        margin = min(float(best - second) for best, second in leads)
        stopped = bool(chosen) and chosen[-1] in ends
        return Decoded(chosen[:-1] if stopped else chosen, "stop" if stopped else "length", margin)

    def _inputs(self, text: str, pictures: Sequence[NDArray[Any]]) -> Any:
        from PIL import Image  # noqa: PLC0415

        images = [Image.fromarray(picture) for picture in pictures]
        return self.processor(text=[text], images=images or None, return_tensors="pt")
