"""The model in a real SGLang engine, on a CPU where there is no GPU."""

from pathlib import Path
from typing import Any

from workers.sglang.cpu import activate_if_cpu_host

ON_CPU = {
    "device": "cpu",
    "attention_backend": "torch_native",
    "sampling_backend": "pytorch",
    "disable_cuda_graph": True,
    "disable_overlap_schedule": True,
    "sleep_on_idle": True,
}


def start(folder: Path, dtype: str = "auto") -> Any:
    """A started sglang.Engine; `shutdown` ends it."""
    on_cpu = activate_if_cpu_host()
    import sglang  # noqa: PLC0415  # not before the stand-ins

    return sglang.Engine(
        model_path=str(folder),
        dtype=dtype,
        skip_server_warmup=True,
        max_total_tokens=8_192,
        page_size=16,
        log_level="error",
        **(ON_CPU if on_cpu else {}),
    )


def answers(engine: Any, prompts: list[tuple[list[int], list[bytes]]], most: int) -> list[str]:
    """Greedy answers to prompts of token ids, with one placeholder for each of their PNGs."""
    sampling = {"max_new_tokens": most, "temperature": 0}
    return [
        engine.generate(input_ids=ids, image_data=pictures or None, sampling_params=sampling)[
            "text"
        ]
        for ids, pictures in prompts
    ]
