"""The Gated CNN block in PyTorch: its definition, for any device and dtype, with gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gated_conv_block_reference(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
    in_weight: Tensor,
    in_bias: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    branch_scale: Tensor | None = None,
) -> Tensor:
    """Arguments and result as gated_conv_block has them, layer_scale apart.

    torch.autocast decides the dtype of each product, as in any module.
    """
    hidden, mixed = out_weight.shape[1], conv_weight.shape[0]
    padding = conv_weight.shape[-2] // 2, conv_weight.shape[-1] // 2
    normed = F.layer_norm(x, x.shape[-1:], norm_weight, norm_bias, eps)
    projected = F.linear(normed, in_weight, in_bias)
    gate, identity, c = projected.split([hidden, hidden - mixed, mixed], dim=-1)
    c = c.permute(0, 3, 1, 2)  # (B, H, W, C) -> (B, C, H, W)
    c = F.conv2d(c, conv_weight, conv_bias, padding=padding, groups=mixed).permute(0, 2, 3, 1)
    branch = F.linear(F.gelu(gate) * torch.cat((identity, c), dim=-1), out_weight, out_bias)
    if branch_scale is not None:
        branch = branch * branch_scale.to(branch.dtype)[:, None, None, None]
    return (x + branch).to(x.dtype)
