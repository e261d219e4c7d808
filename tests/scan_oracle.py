"""Scans of maps token by token, written from their definitions (VMamba, arXiv 2401.10166,
section 4; LocalMamba, arXiv 2403.09338, section 4): the oracle of the mixers' tests."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hybridnas.mixers.modules.scan import SelectiveScan2D

Position = tuple[int, int] | None  # None: a token of padding, which is zero


def visits(direction: str, H: int, W: int) -> list[Position]:
    """Where a direction reads its tokens, first one first."""
    kind = direction.removesuffix("_flip")
    if kind == "h":
        order: list[Position] = [(i, j) for i in range(H) for j in range(W)]
    elif kind == "v":
        order = [(i, j) for j in range(W) for i in range(H)]
    else:
        K = int(kind.removeprefix("w"))
        order = []
        for top in range(0, H, K):
            for left in range(0, W, K):
                window = [(top + i, left + j) for i in range(K) for j in range(K)]
                order += [(i, j) if i < H and j < W else None for i, j in window]
    return order[::-1] if direction.endswith("_flip") else order


def causal(net: SelectiveScan2D, k: int, tokens: list[Tensor]) -> list[Tensor]:
    """Vim's convolution of direction k and its SiLU: each token sees the ones before it."""
    if net.conv is None:
        return tokens
    C = net.D.shape[1]
    weight, bias = net.conv.weight[k * C : (k + 1) * C, 0], net.conv.bias
    assert bias is not None
    found = []
    for t in range(len(tokens)):
        total = bias[k * C : (k + 1) * C]
        for back in range(weight.shape[1]):
            if t - back >= 0:
                total = total + weight[:, -1 - back] * tokens[t - back]
        found.append(total * total.sigmoid())
    return found


def direction_outputs(net: SelectiveScan2D, x: Tensor, directions: Sequence[str]) -> list[Tensor]:
    """The output of every direction on one map, (H, W, C) each."""
    (H, W, C), R, N = x.shape, net.rank, net.d_state
    outputs = []
    for k, direction in enumerate(directions):
        where = visits(direction, H, W)
        tokens = [x[at] if at else x.new_zeros(C) for at in where]
        A = -net.A_log[k].exp()  # (C, N)
        state = torch.zeros_like(A)
        rows: dict[tuple[int, int], Tensor] = {}
        for at, token in zip(where, causal(net, k, tokens), strict=True):
            low, B, out = (net.x_proj[k] @ token).split([R, N, N])
            dt = torch.log1p((net.dt_proj[k] @ low + net.dt_bias[k]).exp())  # softplus
            state = (dt[:, None] * A).exp() * state + dt[:, None] * B * token[:, None]
            if at:
                rows[at] = state @ out + net.D[k] * token
        outputs.append(torch.stack([rows[i, j] for i in range(H) for j in range(W)]).view(H, W, C))
    return outputs


def scanned(net: SelectiveScan2D, x: Tensor, directions: Sequence[str]) -> Tensor:
    """All directions on one map (H, W, C), summed."""
    return torch.stack(direction_outputs(net, x, directions)).sum(0)
