"""The backbone class: an architecture as a module that follows timm's model contract."""

# No postponed annotations here: torch.fx and TorchScript read those of `forward`.
from contextlib import nullcontext
from typing import Any

import torch
from timm.layers import calculate_drop_path_rates, trunc_normal_
from timm.models import checkpoint_seq
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from .architecture import Architecture, Stage
from .layers import Downsample
from .layers.modules.heads import ClassifierHead
from .layers.modules.tokens import drop_token
from .windows import partition, unpartition

# Kept from weight decay: the decay and the skip of a scan, as in Mamba, and the bias of its dt;
# positions and class token, as in DeiT.
_NO_DECAY = ("A_log", "D", "dt_bias", "pos_embed", "cls_token")


class NetworkStage(nn.Module):
    """A downsampler (none in the first stage) and the stage's blocks, on channels-last maps.

    mixers: the name of each block's.
    """

    def __init__(
        self, stage: Stage, width_in: int, downsample: Downsample | None, drop_paths: list[float]
    ) -> None:
        super().__init__()
        self.grad_checkpointing = False
        self.window = stage.window or 0
        self.mixers = [block.mixer_name for block in stage.blocks]
        self.downsample: nn.Module = (
            downsample.build(width_in, stage.width) if downsample else nn.Identity()
        )
        self.blocks = nn.Sequential(
            *(
                block.form.build(block.mixer, stage.width, rate)
                for block, rate in zip(stage.blocks, drop_paths, strict=True)
            )
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, D_in) -> (B, H', W', D)
        x = self.downsample(x)
        H, W = x.shape[1], x.shape[2]
        if self.window > 0:
            x = partition(x, self.window)
        saving = self.grad_checkpointing and self.training
        if saving and not torch.jit.is_scripting():  # type: ignore[attr-defined]
            x = checkpoint_seq(self.blocks, x)
        else:
            x = self.blocks(x)
        return unpartition(x, self.window, H, W) if self.window > 0 else x


class HybridNet(nn.Module):
    """An architecture's network: image (B, in_chans, H, W) -> logits (B, num_classes).

    Maps inside are (B, H, W, C) (`output_fmt`). Features can be taken after every stage; a
    network of one stage without windows is cut at every block, so that they can be taken there,
    as from timm's ViTs. With a class token, forward_features gives the sequence (B, L + 1, C).

    global_pool: hybridnas.layers.modules.heads.POOLS; None: the class token where there is one,
    else the mean. drop_path_rate: of the last block, growing linearly from 0 over the blocks;
    drop_rate: dropout before the classifier. device, dtype: of the parameters.
    """

    def __init__(
        self,
        architecture: Architecture,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.num_classes, self.in_chans = num_classes, in_chans
        self.output_fmt = "NHWC"
        self.token_place: str = architecture.stem.token_place
        self.isotropic = len(architecture.stages) == 1
        stages = _segments(architecture)
        depths = [stage.depth for stage in stages]
        rates: Any = calculate_drop_path_rates(drop_path_rate, depths, stagewise=True)
        with nullcontext() if device is None else torch.device(device):
            self.stem = architecture.stem.build(in_chans, stages[0].width)
            self.stages = nn.Sequential()
            for i, stage in enumerate(stages):
                downsample = architecture.downsample if i and not self.isotropic else None
                width_in = stages[max(i - 1, 0)].width
                self.stages.append(NetworkStage(stage, width_in, downsample, rates[i]))
            self.head = ClassifierHead(
                architecture.head,
                stages[-1].width,
                num_classes,
                global_pool,
                drop_rate,
                architecture.stem.token_place,
            )
            self.apply(_init_weights)
        self.to(dtype)
        self.stem_stride = architecture.stem.stride
        self.feature_info: list[dict[str, Any]] = [
            {
                "num_chs": stage.width,
                "reduction": self.stem_stride * (1 if self.isotropic else 2**i),
                "module": f"stages.{i}",
            }
            for i, stage in enumerate(stages)
        ]
        self.num_features = stages[-1].width
        self.head_hidden_size = self.head.num_features

    def init_weights(self) -> None:
        """Fresh weights in place, as after `to_empty` of a network made on the meta device."""

        def reset(module: nn.Module) -> None:
            if callable(start := getattr(module, "reset_parameters", None)):
                start()
            _init_weights(module)

        self.apply(reset)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that weight decay leaves alone, besides biases and norms."""
        return {n for n, _ in self.named_parameters() if n.rpartition(".")[2] in _NO_DECAY}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """timm's grouping of parameters, for layer-wise learning rates."""
        fine = [
            (r"^stages\.(\d+)\.downsample", (0,)),
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
        ]
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else fine}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        for stage in self.stages:
            stage.grad_checkpointing = enable  # type: ignore[assignment]

    def get_classifier(self) -> nn.Module:
        return self.head.fc

    def reset_classifier(
        self, num_classes: int, global_pool: str | None = None, reset_other: bool = False
    ) -> None:
        """A fresh classifier; 0 classes: features alone. global_pool: another pooling, None: as
        before. reset_other: no norm, no hidden layer."""
        self.num_classes = num_classes
        if reset_other:
            self.head.drop_hidden(norm=True)
        self.head.reset(num_classes, global_pool, like=next(self.parameters()))
        self.head_hidden_size = self.head.num_features

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The maps after the stages in `indices` (None: all; an int: the last so many).

        norm: the head's norm on the maps of the last stage (of the only one: on all).
        stop_early: runs nothing after the last map that is wanted. output_fmt: of the maps,
        'NCHW' or 'NHWC'. Returns the list of maps, and unless intermediates_only what
        forward_features gives (of the part that ran) before it.
        """
        if output_fmt not in ("NCHW", "NHWC"):
            raise ValueError(f"output_fmt must be 'NCHW' or 'NHWC', got '{output_fmt}'")
        wanted, last = feature_take_indices(len(self.stages), indices)
        grid = x.shape[2] // self.stem_stride, x.shape[3] // self.stem_stride
        x = self.stem(x)
        maps: list[Tensor] = []
        for i, stage in enumerate(self.stages):
            if not stop_early or i <= last:
                x = stage(x)
                if i in wanted:
                    y = x
                    if norm and (self.isotropic or i == len(self.stages) - 1):
                        y = self.head.norm(y)
                    if self.token_place != "none":
                        y = drop_token(y.squeeze(1), self.token_place).unflatten(1, grid)
                    maps.append(y if output_fmt == "NHWC" else y.permute(0, 3, 1, 2).contiguous())
        if intermediates_only:
            return maps
        return x.squeeze(1) if self.token_place != "none" else x, maps

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Drops what the maps in `indices` do not need; returns those indices.

        The head's norm goes with prune_norm, or with the last stage.
        """
        wanted, last = feature_take_indices(len(self.stages), indices)
        shorter = last < len(self.stages) - 1
        self.stages = self.stages[: last + 1]
        if shorter and not self.isotropic:
            # The head was sized for the last stage, so it goes with it.
            self.num_features = self.head.in_features = self.feature_info[last]["num_chs"]
            prune_norm = prune_head = True
        if prune_head:
            self.head.drop_hidden(norm=prune_norm)
            self.reset_classifier(0, "")
        elif prune_norm:
            self.head.norm = nn.Identity()
        return wanted

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, H', W', D), or with a class token (B, L + 1, D)."""
        x = self.stages(self.stem(x))
        return x.squeeze(1) if self.token_place != "none" else x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:  # (B, in_chans, H, W) -> (B, num_classes)
        return self.forward_head(self.forward_features(x))


def default_features(architecture: Architecture) -> int:
    """How many maps `features_only` gives unless told: every stage's, or a ViT's last three."""
    number = len(_segments(architecture))
    return number if len(architecture.stages) > 1 else min(3, number)


def _segments(architecture: Architecture) -> list[Stage]:
    """What features can be taken after: the stages, or the blocks of the only one."""
    (first, *others) = architecture.stages
    if others or first.window is not None:
        return list(architecture.stages)
    return [Stage(first.width, (block,)) for block in first.blocks]


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
