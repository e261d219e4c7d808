"""The backbone class: an architecture as a module that follows timm's model contract."""

from __future__ import annotations

from typing import Any

from timm.layers import calculate_drop_path_rates, trunc_normal_
from timm.models import checkpoint_seq
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from .architecture import Architecture, Stage
from .layers import Downsample

# Kept from weight decay: the decay and the skip of a scan, as in Mamba, and the bias of its dt.
_NO_DECAY = ("A_log", "D", "dt_bias")


class NetworkStage(nn.Module):
    """A downsampler (none in the first stage) and the stage's blocks, on channels-last maps."""

    def __init__(
        self,
        stage: Stage,
        width_in: int,
        downsample: Downsample | None,
        drop_paths: list[float],
    ) -> None:
        super().__init__()
        self.grad_checkpointing = False
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
        if self.grad_checkpointing and self.training:
            return checkpoint_seq(self.blocks, x)
        return self.blocks(x)


class HybridNet(nn.Module):
    """An architecture's network: image (B, in_chans, H, W) -> logits (B, num_classes).

    Maps inside are (B, H, W, C) (`output_fmt`). drop_path_rate: of the last block, growing
    linearly from 0 over the blocks; drop_rate: dropout before the classifier.
    """

    def __init__(
        self,
        architecture: Architecture,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.output_fmt = "NHWC"
        widths = [stage.width for stage in architecture.stages]
        depths = [stage.depth for stage in architecture.stages]
        rates: Any = calculate_drop_path_rates(drop_path_rate, depths, stagewise=True)

        self.stem = architecture.stem.build(in_chans, widths[0])
        self.stages = nn.Sequential()
        self.feature_info: list[dict[str, Any]] = []
        stride = architecture.stem.stride
        for i, stage in enumerate(architecture.stages):
            downsample = architecture.downsample if i else None
            stride *= 2 if i else 1
            self.stages.append(NetworkStage(stage, widths[max(i - 1, 0)], downsample, rates[i]))
            self.feature_info.append(
                {"num_chs": stage.width, "reduction": stride, "module": f"stages.{i}"}
            )
        self.num_features = widths[-1]
        self.head = architecture.head.build(widths[-1], num_classes, global_pool, drop_rate)
        self.head_hidden_size = self.head.num_features
        self.apply(_init_weights)

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
        """A fresh classifier; 0 classes: features alone. reset_other: no norm, no hidden layer."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool, reset_other)
        self.head_hidden_size = self.head.num_features

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """The maps after the stages in `indices` (None: all; an int: the last so many).

        Returns the list of maps, and unless intermediates_only the final map (B, H, W, C) before
        it. norm has no effect: the network has no norm between stages and head.
        """
        if output_fmt not in ("NCHW", "NHWC"):
            raise ValueError(f"output_fmt must be 'NCHW' or 'NHWC', got {output_fmt!r}")
        wanted, last = feature_take_indices(len(self.stages), indices)
        x = self.stem(x)
        maps = []
        for i, stage in enumerate(self.stages):
            if stop_early and i > last:
                break
            x = stage(x)
            if i in wanted:
                maps.append(x if output_fmt == "NHWC" else x.permute(0, 3, 1, 2).contiguous())
        return maps if intermediates_only else (x, maps)

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Drops what the maps in `indices` do not need; returns those indices."""
        wanted, last = feature_take_indices(len(self.stages), indices)
        shorter = last < len(self.stages) - 1
        self.stages = self.stages[: last + 1]
        if shorter:
            # The head was sized for the last stage, so it goes with it.
            self.num_features = self.head_hidden_size = self.feature_info[last]["num_chs"]
            self.head.in_features = self.num_features
        if prune_head or shorter:
            self.reset_classifier(0, "", reset_other=True)
        return wanted

    def forward_features(self, x: Tensor) -> Tensor:  # (B, in_chans, H, W) -> (B, H', W', D)
        return self.stages(self.stem(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:  # (B, in_chans, H, W) -> (B, num_classes)
        return self.forward_head(self.forward_features(x))


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
