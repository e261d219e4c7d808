"""Published backbones with selective scans, from the options that they were published with
(papers are named at each)."""

from __future__ import annotations

from ..architecture import Architecture, Block, Stage
from ..counting import Norm
from ..layers.blocks import MetaFormer
from ..layers.conv_blocks import Basic
from ..layers.downsamples import ConvNorm, PatchMerging
from ..layers.heads import LinearHead
from ..layers.stems import DoubleConv, Patch
from ..layers.tokens import Tokens
from ..mixers.attention import Attention
from ..mixers.conv import Conv
from ..mixers.ssm import SSM
from .families import Ints, pyramid

NORM: Norm = "layer_1e-5"  # PyTorch's default, which these repositories leave as it is
FOUR_WAYS = "h v h_flip v_flip"


def vmamba_v0(depths: Ints, width: int) -> Architecture:
    """The first version of VMamba (Liu et al., arXiv 2401.10166v1): a gate and no MLP."""
    block = _gated_scan(SSM(d_state=16, directions=FOUR_WAYS, scan_norm=NORM))
    widths = tuple(width * 2**i for i in range(4))
    return _of_patches(pyramid(depths, widths, block))


def vmamba_v2(depths: Ints, width: int, ratio: float) -> Architecture:
    """VMamba as published (NeurIPS 2024): one number of state, no gate, an MLP.

    ratio: `s2` and `s1` of the models' names, the width of the scan over that of the block.
    """
    form = MetaFormer(expansion=ratio, norm=NORM, bias=False)
    mixer = SSM(d_state=1, directions=FOUR_WAYS, conv_bias=False, scan_norm=NORM)
    return Architecture(
        pyramid(depths, tuple(width * 2**i for i in range(4)), Block(form, mixer)),
        stem=DoubleConv(norm=NORM),
        downsample=ConvNorm(norm=NORM),
        head=LinearHead(norm=NORM, norm_first=True),
    )


def localvmamba(depths: Ints, width: int, directions: str) -> Architecture:
    """LocalMamba (Huang et al., arXiv 2403.09338): VMamba's first version with four directions
    of its own in every block.

    directions: those of a block apart by spaces, blocks apart by ` | `, first block first.
    """
    lists = iter(directions.split(" | "))
    stages = tuple(
        Stage(width * 2**i, tuple(_local_block(next(lists)) for _ in range(depth)))
        for i, depth in enumerate(depths)
    )
    return _of_patches(stages)


def _local_block(directions: str) -> Block:
    return _gated_scan(SSM(directions=directions, scan_norm=NORM, channel_attention=8))


def _gated_scan(mixer: SSM) -> Block:
    return Block(MetaFormer(expansion=2, mlp_ratio=0, gate="silu", norm=NORM, bias=False), mixer)


def _of_patches(stages: tuple[Stage, ...]) -> Architecture:
    return Architecture(
        stages,
        stem=Patch(norm=NORM),
        downsample=PatchMerging(norm=NORM),
        head=LinearHead(norm=NORM, norm_first=True),
    )


def vim(width: int) -> Architecture:
    """Vision Mamba (Zhu et al., ICML 2024, arXiv 2401.09417): isotropic, the class token in the
    middle, two directions whose mean is gated."""
    form = MetaFormer(expansion=2, mlp_ratio=0, gate="silu", norm="rms", bias=False)
    mixer = SSM(kernel=4, directions="h h_flip", conv="causal", scan_norm="none", merge="mean")
    return Architecture(
        (Stage(width, (Block(form, mixer),) * 24),),
        stem=Tokens(class_token="middle"),
        head=LinearHead(norm="rms"),
    )


def mambavision(
    depths: Ints, width: int, hidden: int, layer_scale: float | None = None
) -> Architecture:
    """MambaVision (Hatamizadeh & Kautz, CVPR 2025, arXiv 2407.08083): convolutions, then scans
    in the first half of a stage and attention in the last, inside of windows that hold the whole
    map at 224 px. hidden: of the stem. layer_scale: of the blocks with a scan or attention."""
    conv = Block(Basic(act="gelu_tanh"), Conv(kernel=3, depthwise=False))
    scan = Block(
        MetaFormer(expansion=1, norm=NORM, bias=False, layer_scale=layer_scale),
        SSM(
            d_state=8, directions="h", conv="1d", conv_bias=False, scan_ratio=0.5, scan_norm="none"
        ),
    )
    form = MetaFormer(norm=NORM, layer_scale=layer_scale)
    stages = []
    for i, (depth, window) in enumerate(zip(depths, (None, None, 14, 7), strict=True)):
        late = depth // 2
        attention = Block(form, Attention(num_heads=2 ** (i + 1)))
        blocks = (conv,) * depth if i < 2 else (scan,) * (depth - late) + (attention,) * late
        stages.append(Stage(width * 2**i, blocks, window))
    return Architecture(
        tuple(stages),
        stem=DoubleConv(hidden=hidden, last_act=True, act="relu", norm="batch", bias=False),
        downsample=ConvNorm(norm="none", bias=False),
        head=LinearHead(norm="batch", norm_first=True),
    )
