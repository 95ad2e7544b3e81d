"""Five stand-ins let SGLang import where torch has no CUDA; each is put in place when the real
module is asked for.

1. `sgl_kernel`: no wheel for CPUs without AMX is published; see `kernels.py`.
2. `torchvision::nms` and `qnms`: PyPI's torchvision is linked to libtorch_cuda, so its C++
   operators do not load on a CPU torch, and its Python then fails on the missing declarations.
   They are declared, not implemented: no text model calls them.
3. `triton`: where it is not installed (it adds 1 GB), the mock that SGLang itself ships for macOS
   (`sglang/_platform_stubs.py`).
   No Triton kernel is run on a CPU, but modules that define them are imported.
4. `sglang.srt.lora`: its modules are compiled without pinned memory, which needs an accelerator.
   Nowhere else: other parts ask first whether memory can be pinned, and go wrong if it silently
   is not.
5. `TorchNativeAttnBackend` lacks a method that attention data parallelism asks every backend for on
   a CPU; it is added.
"""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

_TORCH_NATIVE = "sglang.srt.layers.attention.torch_native_backend"
_CPU_KERNEL_WHEELS = ("sglang-kernel-cpu", "sgl-kernel-cpu")


def install_stand_ins() -> None:
    """Puts the finder in front of the import system, once."""
    if any(isinstance(finder, _CpuFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _CpuFinder())
    if PathFinder.find_spec("triton") is None and PathFinder.find_spec("sglang") is not None:
        _mock_triton()


class _CpuFinder:
    """A _CpuFinder answers for `sgl_kernel` and the modules that are edited; it uses the first
    look-up of `torchvision` to declare its operators.
    """

    def __init__(self) -> None:
        self._operators: Any = None  # torch unloads the declarations with this object

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del target
        if name == "sgl_kernel" and not _has_cpu_kernels():
            return importlib.util.spec_from_file_location(
                name, Path(__file__).with_name("kernels.py")
            )
        if name == "torchvision" and self._operators is None:
            self._declare_operators()
        if name.startswith("sglang.srt.lora."):
            return _edited(PathFinder.find_spec(name, path), _without_pinning)
        if name == _TORCH_NATIVE:
            return _edited(PathFinder.find_spec(name, path), _with_fill_value)
        return None

    def _declare_operators(self) -> None:
        import torch  # noqa: PLC0415  # only a process that imports torchvision pays for it

        if torch.version.cuda is None and torch.version.hip is None:
            self._operators = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                self._operators.define(
                    f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )


class _EditingLoader(SourceFileLoader):
    """An _EditingLoader compiles a module's edited source."""

    def __init__(self, name: str, path: str, edit: Callable[[str], str]) -> None:
        super().__init__(name, path)
        self._edit = edit

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._edit(self.get_source(fullname) or ""), self.path)


def _edited(spec: ModuleSpec | None, edit: Callable[[str], str]) -> ModuleSpec | None:
    if spec is not None and isinstance(spec.loader, SourceFileLoader):
        spec.loader = _EditingLoader(spec.loader.name, spec.loader.path, edit)
    return spec


def _without_pinning(source: str) -> str:
    return source.replace("pin_memory=True", "pin_memory=False").replace(".pin_memory()", "")


def _with_fill_value(source: str) -> str:
    """Adds the method that the backend lacks to its source. It returns 1, as the other backends do:
    a padded request counts as one token long.
    """
    if "get_cpu_graph_seq_len_fill_value" in source:
        return source
    return source + "\n\nTorchNativeAttnBackend.get_cpu_graph_seq_len_fill_value = lambda self: 1\n"


def _has_cpu_kernels() -> bool:
    """Tells whether sgl_kernel is installed for CPUs: a CUDA build of it does not import without a
    driver, so only the CPU builds count.
    """
    for wheel in _CPU_KERNEL_WHEELS:
        try:
            importlib.metadata.version(wheel)
        except importlib.metadata.PackageNotFoundError:
            continue
        return True
    return False


def _mock_triton() -> None:
    """Registers SGLang's own mock under the name triton. Its installer does it on macOS alone."""
    package = PathFinder.find_spec("sglang")
    assert package is not None
    assert package.origin is not None
    # Loaded as a file: importing it by name would run sglang/__init__.py, which needs what is being
    # prepared here.
    spec = importlib.util.spec_from_file_location(
        "_sglang_platform_stubs", Path(package.origin).with_name("_platform_stubs.py")
    )
    assert spec is not None
    assert spec.loader is not None
    stubs = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = stubs
    spec.loader.exec_module(stubs)
    triton = stubs._make_mock("triton")
    triton.__version__ = "3.0.0"
    triton.cdiv, triton.next_power_of_2, triton.Config = (
        stubs._cdiv,
        stubs._next_power_of_2,
        stubs._Config,
    )
    for name in (
        "triton.language",
        "triton.runtime",
        "triton.runtime.jit",
        "triton.compiler",
        "triton.compiler.compiler",
    ):
        parent, _, child = name.rpartition(".")
        setattr(sys.modules[parent], child, stubs._make_mock(name))
    sys.meta_path.insert(0, stubs._TritonFinder())
