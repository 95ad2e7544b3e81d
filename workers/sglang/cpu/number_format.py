"""The format of numbers that a CPU computes in: float32 where it has no instructions for bfloat16.

Most models are published in bfloat16. On a CPU without AVX-512 (an AMD EPYC before the fourth
generation, a desktop of Intel's) torch multiplies matrices of that number by number, six to a
hundred times slower than those of float32.
"""

import argparse
import logging
from collections.abc import Set as AbstractSet
from dataclasses import fields
from typing import Any, Final, cast

import torch

log = logging.getLogger(__name__)

_HALVES: Final = ("bf16", "fp16")
"""SGLang's names for formats of 16 bits in its arguments for diffusion models
(multimodal_gen/runtime/utils/precision_types.py).
"""


def multiplies_bfloat16() -> bool:
    """Tells whether torch multiplies matrices of bfloat16 on this CPU by instructions made for
    vectors of it, as oneDNN has them.
    """
    known = torch.backends.mkldnn.is_available()
    return known and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def choose_dtype(namespace: argparse.Namespace, *, told: AbstractSet[str]) -> None:
    """Has an engine on a CPU compute in float32 where nothing else was asked for and bfloat16 would
    be slow.

    Args:
        told: the flags that the user gave; a `--dtype` stays, `auto` too.
    """
    if "--dtype" not in told and not multiplies_bfloat16():
        namespace.dtype = "float32"
        _say("--dtype auto")


def choose_precisions(server_args: Any) -> None:
    """Has a generator on a CPU compute in float32 where its arguments say no precision and 16 bits
    would be slow.

    Args:
        server_args: ServerArgs of SGLang's diffusion part; its `pipeline_config` is changed.
    """
    if multiplies_bfloat16() or server_args.component_precisions:
        return
    pipeline = server_args.pipeline_config
    names = [field.name for field in fields(pipeline) if "precision" in field.name]
    own = {name: getattr(pipeline, name) for name in names}
    chosen = {
        name: full
        for name, found in own.items()
        if (full := _full(found)) != found and not server_args.is_arg_explicitly_set(name)
    }
    for name, full in chosen.items():
        setattr(pipeline, name, full)
    if chosen:
        _say("--dit-precision bf16")


def _full(precision: Any) -> Any:
    """Returns the precision, or the tuple of them, with float32 for 16 bits."""
    if isinstance(precision, tuple):
        return tuple(map(_full, cast("tuple[Any, ...]", precision)))
    return "fp32" if precision in _HALVES else precision


def _say(undo: str) -> None:
    log.info(
        "this CPU has no instructions for bfloat16: computing in float32, which is several times "
        "faster and takes twice the memory (%s keeps the model's own format)",
        undo,
    )
