"""ss2d in PyTorch: the definition that the fast version is held to.

Source: Liu et al. 2024, "VMamba: Visual State Space Model", arXiv 2401.10166, section 4.2 (SS2D).
Every direction is gathered into a sequence, scanned by the selective scan's own definition, and
scattered back. Plain operators only: it can be traced, exported and scripted.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..selective_scan.reference import selective_scan_reference
from ..selective_scan.traceable import selective_scan_traceable
from .orders import Direction, position_table


def ss2d_reference(
    x: Tensor,
    dbc: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    directions: list[Direction],
) -> Tensor:
    """(B, H, W, C) in x's dtype; arguments as in op.py. State and arithmetic are float32, or
    float64 if x is."""
    u, delta, b, c, table = _sequences(x, dbc, dt_weight, directions)
    y, _ = selective_scan_reference(
        u, delta, A.flatten(0, 1), b, c, D.flatten(), None, dt_bias.flatten(), True
    )
    return _merged(y, table, x)


def ss2d_traceable(
    x: Tensor,
    dbc: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    directions: list[Direction],
) -> Tensor:
    """The same, with the scan as a handful of operators however long the sequence."""
    u, delta, b, c, table = _sequences(x, dbc, dt_weight, directions)
    y, _ = selective_scan_traceable(
        u, delta, A.flatten(0, 1), b, c, D.flatten(), None, dt_bias.flatten(), True
    )
    return _merged(y, table, x)


def _sequences(
    x: Tensor, dbc: Tensor, dt_weight: Tensor, directions: list[Direction]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """u and delta (B, K C, L), b and c (B, K, N, L), and the table of positions (K, L)."""
    dtype = x.dtype if x.dtype == torch.float64 else torch.float32
    H, W = x.shape[1], x.shape[2]
    K, rank = dt_weight.shape[0], dt_weight.shape[2]
    num_states = (dbc.shape[3] // K - rank) // 2
    table = position_table(directions, H, W, 1, x.device)
    # One more position, zero, for what lies beside the map.
    beside_x = F.pad(x.to(dtype).flatten(1, 2), (0, 0, 0, 1))
    beside_dbc = F.pad(dbc.to(dtype).flatten(1, 2), (0, 0, 0, 1)).unflatten(2, (K, -1))
    u = torch.stack([beside_x[:, table[k]] for k in range(K)], 1)  # (B, K, L, C)
    read = torch.stack([beside_dbc[:, table[k], k] for k in range(K)], 1)  # (B, K, L, R + 2 N)
    dt, b, c = read.split([rank, num_states, num_states], dim=3)
    delta = dt @ dt_weight.to(dtype).transpose(1, 2)  # (B, K, L, R) @ (K, R, C)
    return (
        u.transpose(2, 3).flatten(1, 2),
        delta.transpose(2, 3).flatten(1, 2),
        b.transpose(2, 3),
        c.transpose(2, 3),
        table,
    )


def _merged(y: Tensor, table: Tensor, x: Tensor) -> Tensor:
    """The sum over directions at each position: (B, K C, L) -> (B, H, W, C) in x's dtype."""
    H, W = x.shape[1], x.shape[2]
    y = y.unflatten(1, (table.shape[0], -1))
    read_at = torch.argsort(table, dim=1)[:, : H * W]  # where each position is in each sequence
    merged = y[:, 0][:, :, read_at[0]]
    for k in range(1, table.shape[0]):
        merged = merged + y[:, k][:, :, read_at[k]]
    return merged.transpose(1, 2).unflatten(1, (H, W)).to(x.dtype)
