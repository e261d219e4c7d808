"""Published backbones of convolution and attention, from the options that they were published
with (papers are named at each)."""

from __future__ import annotations

from ..architecture import Architecture, Block, Stage
from ..layers.blocks import Gated, MetaFormer
from ..layers.conv_blocks import ConvNeXt
from ..layers.downsamples import NormConv
from ..layers.heads import LinearHead, MlpHead
from ..layers.stems import DoubleConv, Patch
from ..layers.tokens import Tokens
from ..mixers.attention import Attention
from ..mixers.conv import Conv
from ..mixers.gated_conv import GatedConv

Ints = tuple[int, ...]


def pyramid(depths: Ints, widths: Ints, *blocks: Block) -> tuple[Stage, ...]:
    """Stages of equal blocks; blocks: one for all stages, or one a stage."""
    each = blocks if len(blocks) > 1 else blocks * len(depths)
    rows = zip(depths, widths, each, strict=True)
    return tuple(Stage(width, (block,) * depth) for depth, width, block in rows)


def mambaout(depths: Ints, widths: Ints) -> Architecture:
    """Yu & Wang, CVPR 2025, arXiv 2405.07992, table 4."""
    return Architecture(pyramid(depths, widths, Block(Gated(), GatedConv())))


def mambaout_rw(depths: Ints, widths: Ints, form: Gated) -> Architecture:
    """The variants that timm adds: norms placed otherwise, LayerScale."""
    return Architecture(
        pyramid(depths, widths, Block(form, GatedConv())),
        stem=DoubleConv(mid_norm=False, act=form.act),
        downsample=NormConv(),
        head=MlpHead(hidden_norm=False),
    )


def convformer(depths: Ints, widths: Ints, attention_from: int = 5) -> Architecture:
    """Yu et al., TPAMI 2024, arXiv 2210.13452: separable convolutions, from stage
    `attention_from` on attention (CAFormer: 3)."""
    blocks = []
    for stage in range(1, len(depths) + 1):
        conv = stage < attention_from
        form = MetaFormer(
            expansion=2 if conv else None,
            act="star_relu",
            norm="layer_no_bias",
            bias=False,
            mlp_bias=False,
            res_scale=stage > 2,
        )
        mixer = (
            Conv(pre_act="star_relu", conv_bias=False)
            if conv
            else Attention(head_dim=32, qkv_bias=False)
        )
        blocks.append(Block(form, mixer))
    return Architecture(
        pyramid(depths, widths, *blocks),
        stem=Patch(kernel=7, step=4, padding=2, norm="layer_no_bias"),
        downsample=NormConv(norm="layer_no_bias"),
        head=MlpHead(act="squared_relu"),
    )


def convnext(depths: Ints, widths: Ints) -> Architecture:
    """Liu et al., CVPR 2022, arXiv 2201.03545."""
    return Architecture(
        pyramid(depths, widths, Block(ConvNeXt(), Conv(kernel=7))),
        stem=Patch(),
        downsample=NormConv(kernel=2),
        head=LinearHead(),
    )


def deit(width: int) -> Architecture:
    """Touvron et al., ICML 2021, arXiv 2012.12877, without distillation."""
    block = Block(MetaFormer(), Attention(head_dim=64))
    return Architecture((Stage(width, (block,) * 12),), stem=Tokens(), head=LinearHead())
