"""The GPUs of a host are counted, without torch, which a host of frontends lacks."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_LISTING_S_MAX: Final = 60.0
"""nvidia-smi takes seconds where the driver has been asleep."""

_OTHER_NODES: Final = ("nvidia[0-9]*", "dxg", "kfd", "davinci[0-9]*", "accel/accel*")
"""Accelerators that cannot be counted here may stand under /dev by these names."""

_CPU_ENGINE: Final = "SGLANG_USE_CPU_ENGINE"
"""SGLang's own switch: "1" has it run on the CPU, even on a host with GPUs."""


def visible_gpus(environ: Mapping[str, str] = os.environ, dev: Path = Path("/dev")) -> int | None:
    """Returns how many NVIDIA GPUs an engine that is started here would see; None where there may
    be accelerators that cannot be counted.
    """
    if environ.get(_CPU_ENGINE) == "1":
        return 0
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"],  # noqa: S607 - wherever the driver has put it
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_LISTING_S_MAX,
            env=dict(environ),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None if any(any(dev.glob(nodes)) for nodes in _OTHER_NODES) else 0
    there = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return left_visible(there, environ.get("CUDA_VISIBLE_DEVICES"))


def left_visible(there: int, named: str | None) -> int:
    """Returns how many of a host's GPUs CUDA_VISIBLE_DEVICES leaves: all where it is not set, else
    those that it names before the first one that does not exist, as CUDA reads it.
    """
    if named is None:
        return there
    count = 0
    for item in named.split(","):
        name = item.strip()
        exists = int(name) < there if name.isdecimal() else name.startswith(("GPU-", "MIG-"))
        if not exists:
            break
        count += 1
    return count if there else 0
