"""The Gated CNN block as one operator, where it can run and where it means the same."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from ...kernels import DEPTHWISE_KERNELS, autocast_dtype, choose, gated_conv_block
from ...mixers.modules.conv import MapConv
from ...norms import LayerNorm
from .scale import Scale

_PARTS: dict[str, tuple[type[nn.Module], ...]] = {
    "norm": (LayerNorm,),
    "proj_in": (nn.Linear,),
    "act": (nn.GELU,),
    "mixer": (MapConv,),
    "proj_out": (nn.Linear,),
    "scale": (nn.Identity, Scale),
    "drop_path": (nn.Identity, DropPath),
}


def fuses(block: Any, x: Tensor) -> bool:
    """Whether a gated block may run as one operator on x.

    Its parts must be those that the operator knows, and nobody may watch them: a part that was
    exchanged (quantised, say) or that has a hook runs by itself. torch.fx gives no tensor here.
    The kernels compute in 16 bits; in float32 the libraries' products are faster.
    """
    if (
        not isinstance(x, Tensor)
        or x.numel() == 0
        or choose("gated_conv_block", None, x) != "triton"
    ):
        return False
    return (
        (autocast_dtype(x) or x.dtype) in (torch.bfloat16, torch.float16)
        and all(_is_plain(getattr(block, name), types) for name, types in _PARTS.items())
        and block.act.approximate == "none"
        and None not in (block.norm.bias, block.proj_in.bias, block.proj_out.bias)
        and block.mixer.groups == block.mixer.in_channels
        and block.mixer.kernel_size[0] in DEPTHWISE_KERNELS
    )


def fused(block: Any, x: Tensor) -> Tensor:
    """(B, H, W, D) -> (B, H, W, D), for a block that fuses."""
    keep = None
    if block.training and isinstance(block.drop_path, DropPath):
        # The factors that drop path multiplies images by, drawn as it draws them.
        keep = block.drop_path(torch.ones(x.shape[0], 1, 1, 1, device=x.device)).flatten()
    return gated_conv_block(
        x,
        block.norm.weight,
        block.norm.bias,
        block.norm.eps,
        block.proj_in.weight,
        block.proj_in.bias,
        block.mixer.weight,
        block.mixer.bias,
        block.proj_out.weight,
        block.proj_out.bias,
        keep,
        block.scale.scale if isinstance(block.scale, Scale) else None,
    )


def _is_plain(module: nn.Module, types: tuple[type[nn.Module], ...]) -> bool:
    hooks = (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )
    return type(module) in types and not hooks and "forward" not in vars(module)
