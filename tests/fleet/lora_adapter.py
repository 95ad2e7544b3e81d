"""A LoRA adapter with random weights for a demo model, in PEFT's form."""

import json
from pathlib import Path

import numpy as np

from workers.demo_model import demo_model_dir

RANK = 4


def write_adapter(directory: Path, seed: int, model_dir: Path | None = None) -> Path:
    """The directory, with an adapter of the attention's projections strong enough to change what
    the model says, which is the demo model of text if none is given.
    """
    config = json.loads(((model_dir or demo_model_dir()) / "config.json").read_text())
    config = config.get("text_config", config)
    inputs, head = config["hidden_size"], config["head_dim"]
    outputs = {
        "q_proj": config["num_attention_heads"] * head,
        "k_proj": config["num_key_value_heads"] * head,
    }
    outputs["v_proj"] = outputs["k_proj"]
    directory.mkdir(parents=True)
    random = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}
    for layer in range(config["num_hidden_layers"]):
        for projection, size in outputs.items():  # SGLang wants all three, since it stacks them
            name = f"base_model.model.model.layers.{layer}.self_attn.{projection}"
            tensors[f"{name}.lora_A.weight"] = random.normal(0, 0.5, (RANK, inputs)).astype("<f4")
            tensors[f"{name}.lora_B.weight"] = random.normal(0, 0.5, (size, RANK)).astype("<f4")
    (directory / "adapter_model.safetensors").write_bytes(_safetensors(tensors))
    settings = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "target_modules": list(outputs),
        "bias": "none",
    }
    (directory / "adapter_config.json").write_text(json.dumps(settings))
    return directory


def _safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    """The file format: header length, JSON header, raw tensors
    (https://github.com/huggingface/safetensors).
    """
    header: dict[str, object] = {}
    body = b""
    for name, tensor in tensors.items():
        raw = tensor.tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(body), len(body) + len(raw)],
        }
        body += raw
    encoded = json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + body
