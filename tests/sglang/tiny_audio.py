"""Run as a program: write a tiny random model that hears, a Qwen2-Audio, or print what transformers
generates with it.

    python tiny_audio.py build DIRECTORY
    python tiny_audio.py greedy DIRECTORY MAX_NEW_TOKENS < chats.json > outputs.json

A chat is a list of texts and of sounds (data URLs of WAVs of 16 kHz) of one user message; an output
is the token ids, and the number of the prompt's. A program, since pytest's process must not import
torch.
"""

import base64
import io
import json
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workers.sglang.cpu import activate_if_cpu_host

activate_if_cpu_host()  # transformers imports torchvision, which needs the stand-ins

import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: E402
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor  # noqa: E402

MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_bos|>", "<|audio_eos|>")
PAD = "<|AUDIO|>"
_NEW, _OLD = "language_model.model.model.", "language_model.model."
TEMPLATE = """\
{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string %}{{- message.content }}{%- else %}
{%- for part in message.content %}
{%- if part.type == 'audio' %}{{- '<|audio_bos|><|AUDIO|><|audio_eos|>' }}
{%- elif 'text' in part %}{{- part.text }}{%- endif %}{%- endfor %}{%- endif %}
{{- '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


def build(directory: Path) -> None:
    torch.manual_seed(7)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={each: at for at, each in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([*MARKS, PAD])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
    )
    config = transformers.Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "d_model": 64,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 128,
            "num_mel_bins": 80,
            "init_std": 0.2,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": 384,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "initializer_range": 0.3,
            "tie_word_embeddings": False,
            "eos_token_id": fast.convert_tokens_to_ids("<|im_end|>"),
            "bos_token_id": None,
        },
        audio_token_index=fast.convert_tokens_to_ids(PAD),
    )
    model = transformers.Qwen2AudioForConditionalGeneration(config).float()
    for name, weights in model.named_parameters():
        if "language_model" not in name and weights.dim() > 1:
            weights.data.normal_(0, 0.2)
    model.save_pretrained(directory)
    # the names that published weights have, which transformers does not write any more
    file = directory / "model.safetensors"
    weights = {named.replace(_NEW, _OLD): each for named, each in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    extractor = WhisperFeatureExtractor(feature_size=80, return_attention_mask=True)
    processor = transformers.Qwen2AudioProcessor(extractor, fast, chat_template=TEMPLATE)
    processor.save_pretrained(directory)
    file = directory / "tokenizer_config.json"
    named = {"processor_class": "Qwen2AudioProcessor", "chat_template": TEMPLATE}
    file.write_text(json.dumps(json.loads(file.read_text()) | named))


def greedy(directory: Path, max_new_tokens: int) -> None:
    processor = transformers.AutoProcessor.from_pretrained(directory)
    model = transformers.Qwen2AudioForConditionalGeneration.from_pretrained(
        directory, dtype=torch.float32
    ).eval()
    model.generation_config.eos_token_id = None
    tower: Any = next(each for name, each in model.named_modules() if name.endswith("audio_tower"))
    hear = tower.forward

    def with_silence(*given: Any, attention_mask: Any = None, **named: Any) -> Any:
        """As SGLang 0.5.23 does: a sound is heard with the silence that it is padded with to 30 s,
        which transformers masks.
        """
        del attention_mask
        return hear(*given, **named)

    tower.forward = with_silence
    outputs = []
    for chat in json.load(sys.stdin):
        heard = [read(part) for part in chat if part.startswith("data:")]
        content = [
            {"type": "audio"} if part.startswith("data:") else {"type": "text", "text": part}
            for part in chat
        ]
        text = processor.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        given: Any = processor(text=[text], audio=heard or None, return_tensors="pt")
        out = model.generate(
            **given, do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=0
        )
        prompt_tokens = given["input_ids"].shape[1]
        outputs.append([out[0, prompt_tokens:].tolist(), prompt_tokens])
    json.dump(outputs, sys.stdout)


def read(url: str) -> Any:
    with wave.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as file:
        assert file.getframerate() == 16_000
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype("f4") / 32_768


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "build":
        build(Path(sys.argv[2]))
    else:
        greedy(Path(sys.argv[2]), int(sys.argv[3]))
