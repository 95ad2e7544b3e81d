"""A stand-in for flashinfer and cutlass where they are not installed: two norms in plain PyTorch;
anything else fails when it is called.

`install.sh` puts it beside SGLang, where Python imports it at every start. SGLang imports both
packages whatever backend it is told to use.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

PACKAGES = ("flashinfer", "cutlass")

PLAINLY_ABSENT = ("flashinfer.rope",)
"""Modules that SGLang does without where they cannot be imported."""


def rmsnorm(
    x: Any, weight: Any, eps: float = 1e-6, out: Any = None, enable_pdl: bool | None = None
) -> Any:
    """`x` divided by its root mean square, times `weight`; computed in float32."""
    del enable_pdl
    # not at the top: every Python process there imports this file
    torch: Any = import_module("torch")
    wide = x.float()
    normed: Any = (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(
        x.dtype
    ) * weight
    return normed if out is None else out.copy_(normed)


def fused_add_rmsnorm(
    x: Any, residual: Any, weight: Any, eps: float = 1e-6, enable_pdl: bool | None = None
) -> None:
    """Adds `x` to `residual` and puts the norm of the sum into `x`, both in place."""
    residual.add_(x)
    x.copy_(rmsnorm(residual, weight, eps, enable_pdl=enable_pdl))


NORMS: dict[str, Callable[..., Any]] = {"rmsnorm": rmsnorm, "fused_add_rmsnorm": fused_add_rmsnorm}


class _Absent(ModuleType):
    """A module in which every name is a function that is not there."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_args: Any, **_kwargs: Any) -> NoReturn:
            raise NotImplementedError(f"{self.__name__}.{name} is not on this host")

        return NORMS.get(name, missing)


class _Finder(MetaPathFinder, Loader):
    """Answers for the two packages and everything below them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        return (
            ModuleSpec(fullname, self, is_package=True)
            if fullname.partition(".")[0] in PACKAGES and fullname not in PLAINLY_ABSENT
            else None
        )

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = _Absent(spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to run."""


sys.meta_path.append(_Finder())
