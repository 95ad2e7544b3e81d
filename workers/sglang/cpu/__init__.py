"""SGLang is made to run on a host without a GPU: that is decided once, by environment variable for
every process that follows.

SGLang publishes CUDA wheels only. On a CPU it imports and runs with five stand-ins
(`stand_ins.py`), which must be in place before its first import, in this process and in every
process that it spawns. `activate_if_cpu_host` sees to both.
"""

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from workers.sglang.cpu.stand_ins import install_stand_ins

CPU_ENGINE: Final = "SGLANG_USE_CPU_ENGINE"
"""SGLang's own switch between CPU and accelerator is this environment variable, read at its import.

"1" chooses the CPU even on a GPU host, anything else the accelerator.
"""

_ACCELERATORS: Final = ("nvidia[0-9]*", "dxg", "kfd", "davinci[0-9]*", "accel/accel*")
"""The device nodes under /dev of NVIDIA (also under WSL), AMD, Ascend and Gaudi match these
patterns.

An Intel GPU must be asked for with --device xpu.
"""


def activate_if_cpu_host(argv: Sequence[str] | None = None) -> bool:
    """Prepares this process, and those it spawns, for SGLang on a CPU, if that is what will run
    here.

    Cheap (no import of torch or SGLang) and idempotent. Call it before the first import of SGLang.

    Args:
        argv: the worker's arguments; None reads no arguments.
    Returns:
        Whether SGLang will run on the CPU.
    """
    if not is_cpu_host(argv or ()):
        return False
    os.environ[CPU_ENGINE] = "1"
    # SGLang compiles a few small functions with torch.compile on first use (a repetition penalty is
    # one). That needs Triton or a C++ compiler, and a scheduler that fails to compile is a
    # scheduler that dies.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    install_stand_ins()
    _prepare_spawned_children()
    return True


def is_cpu_host(argv: Sequence[str]) -> bool:
    """Tells whether SGLang is to run on the CPU: the environment says so, else --device, else there
    is no usable GPU.
    """
    if CPU_ENGINE in os.environ:
        return os.environ[CPU_ENGINE] == "1"
    device = _device_argument(argv)
    if device is not None:
        return device == "cpu"
    return not _usable_gpu()


def _device_argument(argv: Sequence[str]) -> str | None:
    for index, argument in enumerate(argv):
        if argument.startswith("--device="):
            return argument.removeprefix("--device=")
        if argument == "--device" and index + 1 < len(argv):
            return argv[index + 1]
    return _device_in_config(argv)


def _device_in_config(argv: Sequence[str]) -> str | None:
    """Returns `device` of SGLang's own --config file; None where that says nothing.

    What is wrong with the file is said later, by SGLang's parser.
    """
    if "--config" not in argv[:-1]:
        return None
    import yaml  # noqa: PLC0415  # spawned children never come here

    try:
        settings: Any = yaml.safe_load(Path(argv[argv.index("--config") + 1]).read_bytes())
    except (OSError, yaml.YAMLError):
        return None
    device = cast("dict[str, Any]", settings).get("device") if isinstance(settings, dict) else None
    return None if device is None else str(device)


def _usable_gpu() -> bool:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}
    return (
        not hidden
        and any(any(Path("/dev").glob(nodes)) for nodes in _ACCELERATORS)
        and not _torch_is_cpu_build()
    )


def _torch_is_cpu_build() -> bool:
    """Tells whether torch was built for CPUs alone, from its version file, since importing torch
    takes seconds.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    version_file = Path(spec.origin).with_name("version.py")
    return version_file.is_file() and "+cpu" in version_file.read_text(encoding="utf-8")


def _prepare_spawned_children() -> None:
    """Makes multiprocessing run `workers.sglang.cpu.child` in each spawned process, before it
    unpickles its target.

    A spawned process first re-runs the parent's main module, but never a package's `__main__.py`,
    and ours is `python -m workers`. The name that it re-runs is that of `__main__.__spec__`. A
    child re-runs nothing else of ours.
    """
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("workers.sglang.cpu.child")
