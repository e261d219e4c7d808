"""Classification heads as modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from ...activations import build_activation
from ...norms import build_norm
from .tokens import drop_token, take_token

if TYPE_CHECKING:
    from ..heads import Head, MlpHead
    from ..stems import ClassToken

POOLS = ("avg", "max", "avgmax", "token", "")


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
