"""`sgl_kernel` is replaced on a CPU without AMX by the one function that ordinary serving calls,
and refusals for the rest.

The rest belongs to speculative decoding, which SGLang has no native CPU path for.
"""

from typing import Any, NoReturn

import torch

__version__ = "0.0.0+kvmesh.cpu"

_declared = torch.library.Library("sgl_kernel", "FRAGMENT")
"""Modules that models of pictures import read these operators at their import; none is called
there. (torch unloads the declarations with this object.)
"""
for _schema in (
    "fused_sigmoid_mul_cpu(Tensor x, Tensor gate) -> Tensor",
    "fused_qk_gemma_rmsnorm_cpu(Tensor q, Tensor k) -> (Tensor, Tensor)",
    "fused_qk_gemma_rmsnorm_with_gate_cpu(Tensor q, Tensor k) -> (Tensor, Tensor)",
    "fused_qkvzba_split_reshape_cat_contiguous_cpu(Tensor a, Tensor b) -> Tensor[]",
):
    _declared.define(_schema)


def assign_req_to_token_pool_cpu(  # noqa: PLR0917  # SGLang's signature
    req_pool_indices: Any,
    req_to_token: Any,
    start_offset: Any,
    end_offset: Any,
    out_cache_loc: Any,
    pool_len: int,
) -> None:
    """Writes each request's new KV slots into its row of the pool, in place.

    The same as the Triton kernel of that name in sglang/srt/mem_cache/allocation.py.

    Args:
        req_pool_indices: row of each request, shape [requests].
        req_to_token: KV slot of every position, shape [rows, pool_len]; written.
        start_offset: first position of each request to write, shape [requests].
        end_offset: position after the last, shape [requests].
        out_cache_loc: the slots of all requests one after another, shape [sum of (end - start)].
    """
    del pool_len
    taken = 0
    for row, start, end in zip(
        req_pool_indices.tolist(), start_offset.tolist(), end_offset.tolist(), strict=True
    ):
        req_to_token[row, start:end] = out_cache_loc[taken : taken + end - start].to(
            req_to_token.dtype
        )
        taken += end - start


def __getattr__(name: str) -> Any:
    if not name.endswith("_cpu"):
        raise AttributeError(name)

    def refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f"sgl_kernel.{name}: kvmesh's CPU stand-in has no speculative decoding"
        )

    return refuse
