"""Three operators of `sgl_kernel` that models of pictures and videos modulate their layers with are
made of torch's own.

No CPU build of `sgl_kernel` has them, and SGLang calls them on a CPU in any case
(multimodal_gen/runtime/layers/layernorm.py). They compute in float32, as its kernels for GPUs do.
"""

import torch
from torch.nn import functional

_library = torch.library.Library("sgl_kernel", "FRAGMENT")
"""torch unloads the operators with this object."""


def _define(schema: str, function: object) -> None:
    """Defines an operator unless a build of `sgl_kernel` has it."""
    name = schema.partition("(")[0]
    if not hasattr(torch.ops.sgl_kernel, name):
        _library.define(schema)
        _library.impl(name, function, "CompositeExplicitAutograd")


def scale_shift(
    x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, scale_constant: float
) -> torch.Tensor:
    """Returns x * (constant + scale) + shift; all have x's shape."""
    made = x.float() * (scale_constant + scale.float()) + shift.float()
    return made.to(x.dtype)


def norm_scale_shift(  # noqa: PLR0917  # SGLang's signature
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    scale: torch.Tensor,
    shift: torch.Tensor,
    norm_type: str,
    eps: float,
) -> torch.Tensor:
    """Returns what `scale_shift` makes of x once it is normalized along its last dimension, as a
    "layer" or by its root mean square ("rms").
    """
    shape, wide = x.shape[-1:], x.float()
    weight = None if weight is None else weight.float()
    if norm_type == "rms":
        normalized = functional.rms_norm(wide, shape, weight, eps)
    else:
        normalized = functional.layer_norm(
            wide, shape, weight, None if bias is None else bias.float(), eps
        )
    return scale_shift(normalized, scale, shift, 1.0).to(x.dtype)


def residual_norm_scale_shift(  # noqa: PLR0917  # SGLang's signature
    residual: torch.Tensor,
    x: torch.Tensor,
    gate: torch.Tensor | None,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    scale: torch.Tensor,
    shift: torch.Tensor,
    norm_type: str,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns what `norm_scale_shift` makes of residual + x * gate, and that sum."""
    added = (residual.float() + (x if gate is None else x * gate).float()).to(x.dtype)
    return norm_scale_shift(added, weight, bias, scale, shift, norm_type, eps), added


_define(
    "fused_scale_shift_cpu(Tensor x, Tensor scale, Tensor shift, float c) -> Tensor", scale_shift
)
_define(
    "fused_norm_scale_shift_cpu(Tensor x, Tensor? weight, Tensor? bias, Tensor scale, Tensor shift,"
    " str norm_type, float eps) -> Tensor",
    norm_scale_shift,
)
_define(
    "fused_scale_residual_norm_scale_shift_cpu(Tensor residual, Tensor x, Tensor? gate,"
    " Tensor? weight, Tensor? bias, Tensor scale, Tensor shift, str norm_type, float eps)"
    " -> (Tensor, Tensor)",
    residual_norm_scale_shift,
)
