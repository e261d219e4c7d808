"""Classification heads: norm, pooling over the map, then an MLP or one linear layer."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from torch import Tensor, nn

from ..activations import Activation, build_activation, count_activation
from ..counting import Count, Size, linear
from ..errors import ArchitectureError
from ..norms import Norm, build_norm, count_norm
from ..parts import Part
from .stems import ClassToken
from .tokens import drop_token, take_token

POOLS = ("avg", "max", "avgmax", "token", "")


@dataclasses.dataclass(frozen=True)
class Head(Part, abc.ABC):
    """Options of a head: map (B, H, W, width) -> logits (B, num_classes).

    norm_first: the norm stands before the pooling, on every token, and not after it.
    """

    kind: ClassVar[str] = "head"
    norm: Norm = "layer"
    norm_first: bool = False

    def check(self) -> None:
        if self.norm == "batch" and not self.norm_first:
            raise ArchitectureError(f"{self.label}: norm 'batch' works on maps: set norm_first")

    @abc.abstractmethod
    def hidden(self, width: int) -> int:
        """Width of the hidden layer; 0: none."""

    @abc.abstractmethod
    def build_hidden(self, width: int) -> nn.Module:
        """The hidden layer, (..., width) -> (..., hidden); the identity where there is none."""

    @abc.abstractmethod
    def count_hidden(self, width: int) -> Count: ...

    def count(self, width: int, num_classes: int, size: Size) -> Count:
        """Cost on a map of that size, with the pooling that a network has by default."""
        total = count_norm(self.norm, size[0] * size[1] if self.norm_first else 1, width)
        classifier = linear(1, self.hidden(width) or width, num_classes) * bool(num_classes)
        return total + self.count_hidden(width) + classifier


@dataclasses.dataclass(frozen=True)
class LinearHead(Head):
    """Norm and one linear layer."""

    def hidden(self, width: int) -> int:
        return 0

    def build_hidden(self, width: int) -> nn.Module:
        return nn.Identity()

    def count_hidden(self, width: int) -> Count:
        return Count()


@dataclasses.dataclass(frozen=True)
class MlpHead(Head):
    """Norm, Linear, activation, LayerNorm, Linear (MambaOut, ConvFormer). ratio: hidden over
    width. hidden_norm: whether the second norm is there (not in timm's MambaOut `_rw`)."""

    ratio: float = 4.0
    act: Activation = "gelu"
    hidden_norm: bool = True

    def check(self) -> None:
        super().check()
        if self.ratio <= 0:
            raise ArchitectureError(f"{self.label}: ratio must be positive, got {self.ratio:g}")

    def hidden(self, width: int) -> int:
        return int(self.ratio * width)

    def build_hidden(self, width: int) -> nn.Module:
        return PreLogits(self, width) if self.hidden(width) else nn.Identity()

    def count_hidden(self, width: int) -> Count:
        hidden = self.hidden(width)
        if not hidden:  # a ratio may leave none of a small width
            return Count()
        norm = count_norm("layer" if self.hidden_norm else "none", 1, hidden)
        return linear(1, width, hidden) + count_activation(self.act) + norm


class PreLogits(nn.Module):
    def __init__(self, options: MlpHead, width: int) -> None:
        super().__init__()
        hidden = options.hidden(width)
        self.fc, self.act = nn.Linear(width, hidden), build_activation(options.act)
        self.norm = build_norm("layer" if options.hidden_norm else "none", hidden)

    def forward(self, x: Tensor) -> Tensor:  # (..., D) -> (..., hidden)
        return self.norm(self.act(self.fc(x)))


class ClassifierHead(nn.Module):
    """What timm expects of a head: `fc`, `num_features`, `reset`, pre-logits.

    pool: one of POOLS; 'token' takes the class token, '' keeps the map; None: 'token' where
    there is one, else 'avg'.
    """

    def __init__(
        self,
        options: Head,
        width: int,
        num_classes: int,
        pool: str | None,
        drop_rate: float,
        class_token: ClassToken,
    ) -> None:
        super().__init__()
        self.class_token: str = class_token
        self.pool = self._default() if pool is None else self._checked(pool)
        self.norm_first = options.norm_first
        self.in_features = width
        self.num_features = options.hidden(width) or width
        self.norm: nn.Module = build_norm(options.norm, width)
        self.pre_logits: nn.Module = options.build_hidden(width)
        self.drop = nn.Dropout(drop_rate)
        self.fc = _classifier(self.num_features, num_classes)

    def _default(self) -> str:
        return "avg" if self.class_token == "none" else "token"

    def _checked(self, pool: str) -> str:
        if pool not in POOLS or (pool == "token" and self.class_token == "none"):
            allowed = [name for name in POOLS if name != "token" or self.class_token != "none"]
            words = ", ".join(map(repr, allowed))
            raise ValueError(f"global_pool must be one of {words} ('': none), got {pool!r}")
        return pool

    def reset(self, num_classes: int, pool: str | None, like: Tensor) -> None:
        """A fresh classifier on the device and of the type of `like`; pool None: as before."""
        if pool is not None:
            self.pool = self._checked(pool)
        fc = _classifier(self.num_features, num_classes)
        self.fc = fc.to(like.device, like.dtype).train(self.training)

    def drop_hidden(self, norm: bool) -> None:
        """Takes the hidden layer out, and the norm if asked."""
        self.pre_logits, self.num_features = nn.Identity(), self.in_features
        self.pre_logits.train(self.training)
        if norm:
            self.norm = nn.Identity().train(self.training)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if self.norm_first:
            x = self._pooled(self.norm(x))
        else:
            x = self.norm(self._pooled(x))
        x = self.drop(self.pre_logits(x))
        return x if pre_logits else self.fc(x)

    def _pooled(self, x: Tensor) -> Tensor:
        """A map (B, H, W, D), or a sequence (B, L, D) with a class token -> (B, D)."""
        if self.pool == "":
            return x
        if self.pool == "token":
            return take_token(x, self.class_token)
        x = x.flatten(1, 2) if self.class_token == "none" else drop_token(x, self.class_token)
        if self.pool == "max":
            return x.amax(1)
        if self.pool == "avgmax":
            return 0.5 * (x.mean(1) + x.amax(1))
        return x.mean(1)


def _classifier(fan_in: int, num_classes: int) -> nn.Module:
    return nn.Linear(fan_in, num_classes) if num_classes > 0 else nn.Identity()
