"""Classification heads: mean over the map, LayerNorm, then an MLP or one linear layer."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from ..counting import Count, layer_norm, linear
from ..errors import ArchitectureError
from ..parts import Part
from .blocks import norm


@dataclasses.dataclass(frozen=True)
class Head(Part, abc.ABC):
    """Options of a head: map (B, H, W, width) -> logits (B, num_classes)."""

    kind: ClassVar[str] = "head"

    @abc.abstractmethod
    def hidden(self, width: int) -> int:
        """Width of the hidden layer; 0: none."""

    def build(self, width: int, num_classes: int, pool: str, drop_rate: float) -> ClassifierHead:
        return ClassifierHead(width, self.hidden(width), num_classes, pool, drop_rate)

    def count(self, width: int, num_classes: int) -> Count:
        hidden = self.hidden(width)
        total = layer_norm(1, width)
        if hidden:
            total += linear(1, width, hidden) + layer_norm(1, hidden)
        return total + linear(1, hidden or width, num_classes) * bool(num_classes)


@dataclasses.dataclass(frozen=True)
class LinearHead(Head):
    """LayerNorm and one linear layer."""

    def hidden(self, width: int) -> int:
        return 0


@dataclasses.dataclass(frozen=True)
class MlpHead(Head):
    """LayerNorm, Linear, GELU, LayerNorm, Linear (MambaOut). ratio: hidden over width."""

    ratio: float = 4.0

    def check(self) -> None:
        if self.ratio <= 0:
            raise ArchitectureError(f"{self.label}: ratio must be positive, got {self.ratio:g}")

    def hidden(self, width: int) -> int:
        return int(self.ratio * width)


class ClassifierHead(nn.Module):
    """What timm expects of a head: `fc`, `num_features`, `reset`, pre-logits."""

    def __init__(
        self, width: int, hidden: int, num_classes: int, pool: str, drop_rate: float
    ) -> None:
        super().__init__()
        self.pool = _checked_pool(pool)
        self.in_features = width
        self.num_features = hidden or width
        self.norm: nn.Module = norm(width)
        self.pre_logits: nn.Module = PreLogits(width, hidden) if hidden else nn.Identity()
        self.drop = nn.Dropout(drop_rate)
        self.fc = _classifier(self.num_features, num_classes)

    def reset(self, num_classes: int, pool: str | None = None, reset_other: bool = False) -> None:
        """A fresh classifier; reset_other also takes norm and hidden layer out."""
        if pool is not None:
            self.pool = _checked_pool(pool)
        if reset_other:
            self.norm, self.pre_logits = nn.Identity(), nn.Identity()
            self.num_features = self.in_features
        like = next(self.parameters(), None)
        self.fc = _classifier(self.num_features, num_classes)
        if like is not None:
            self.fc.to(like.device, like.dtype)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if self.pool == "avg":
            x = x.mean((1, 2))  # (B, H, W, D) -> (B, D)
        x = self.drop(self.pre_logits(self.norm(x)))
        return x if pre_logits else self.fc(x)


class PreLogits(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(width, hidden), norm(hidden)

    def forward(self, x: Tensor) -> Tensor:  # (..., D) -> (..., hidden)
        return self.norm(F.gelu(self.fc(x)))


def _classifier(fan_in: int, num_classes: int) -> nn.Module:
    return nn.Linear(fan_in, num_classes) if num_classes > 0 else nn.Identity()


def _checked_pool(pool: str) -> str:
    if pool not in ("avg", ""):
        raise ValueError(f"global_pool must be 'avg' or '' (none), got {pool!r}")
    return pool


HEADS: dict[str, type[Head]] = {"linear": LinearHead, "mlp": MlpHead}
