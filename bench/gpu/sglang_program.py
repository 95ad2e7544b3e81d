"""`python -m bench.gpu.sglang_program MODULE ARGUMENTS`: a program of SGLang's where something that
it imports is not installed.

On a host without a GPU it gets kvmesh's stand-ins. `datasets`, which SGLang's benchmarks import
whatever they send, may be absent.
"""

import importlib.util
import runpy
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from workers.sglang.cpu import activate_if_cpu_host, is_cpu_host

BENCHMARK = "sglang.bench_serving"


def sglang_program(module: str) -> list[str]:
    """How to start `module` on this host: on a GPU exactly as its users do, unless it is a
    benchmark.
    """
    plain = module != BENCHMARK and not is_cpu_host(())
    return [sys.executable, "-m", *([] if plain else ["bench.gpu.sglang_program"]), module]


def _without_datasets() -> None:
    """Puts a module in place of `datasets` that can be imported and loads nothing."""
    if importlib.util.find_spec("datasets") is not None:
        return

    def load_dataset(*_args: Any, **_kwargs: Any) -> NoReturn:
        raise RuntimeError("the package datasets is not installed on this host")

    module: Any = ModuleType("datasets")
    module.__spec__, module.load_dataset = ModuleSpec("datasets", None), load_dataset
    sys.modules["datasets"] = module


if __name__ == "__main__":
    activate_if_cpu_host()
    _without_datasets()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__")
