"""Stems, downsamplers, windows, heads and convolutional blocks against their definitions."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from contract_helpers import network, randomised
from torch import Tensor, nn
from torch.nn import functional as F

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.errors import ArchitectureError, ConfigError
from hybridnas.layers import DOWNSAMPLES, STEMS, Downsample, Head, Stem
from hybridnas.layers.blocks import Gated, MetaFormer
from hybridnas.layers.conv_blocks import Basic, ConvNeXt
from hybridnas.layers.downsamples import ConvNorm, NormConv, PatchMerging
from hybridnas.layers.heads import LinearHead, MlpHead
from hybridnas.layers.modules.heads import ClassifierHead
from hybridnas.layers.stems import DoubleConv, Patch
from hybridnas.layers.tokens import Tokens
from hybridnas.mixers.attention import Attention
from hybridnas.mixers.conv import Conv
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.mixers.ssm import SSM
from hybridnas.timm_entry import build

STEM_CASES: list[Stem] = [
    *(stem() for stem in STEMS.values()),
    DoubleConv(mid_norm=False, act="silu"),
    DoubleConv(hidden=10, last_act=True, act="star_relu", norm="batch", bias=False),
    Patch(kernel=7, step=4, padding=2, norm="layer_no_bias"),
    Tokens(patch=8, grid=4, class_token="middle"),
    Tokens(patch=8, grid=4, class_token="none"),
]
DOWNSAMPLE_CASES: list[Downsample] = [
    *(downsample() for downsample in DOWNSAMPLES.values()),
    ConvNorm(norm="none", bias=False),
    NormConv(kernel=2, norm="rms"),
]


def same(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stem", STEM_CASES, ids=repr)
@pytest.mark.parametrize("size", [(32, 48), (35, 50)])
def test_a_stem_gives_what_it_counts(stem: Stem, size: tuple[int, int]) -> None:
    module = stem.build(5, 24)
    count, at = stem.count(5, 24, size)
    assert module(torch.rand(2, 5, *size)).shape == (2, *at, 24)
    assert count.params == sum(p.numel() for p in module.parameters())
    assert isinstance(module.conv1, nn.Conv2d)


@pytest.mark.parametrize("downsample", DOWNSAMPLE_CASES, ids=repr)
@pytest.mark.parametrize("size", [(4, 6), (5, 7), (3, 2)])
def test_a_downsampler_halves_the_map(downsample: Downsample, size: tuple[int, int]) -> None:
    module = downsample.build(12, 20)
    count, at = downsample.count(12, 20, size)
    assert module(torch.rand(2, *size, 12)).shape == (2, *at, 20)
    assert all(side // 2 <= half <= (side + 1) // 2 for side, half in zip(size, at, strict=True))
    assert count.params == sum(p.numel() for p in module.parameters())


def test_patch_merging_is_swins() -> None:
    """Liu et al., ICCV 2021, section 3.1: the features of each 2 x 2 neighbours, side by side."""
    module: Any = randomised(PatchMerging().build(3, 5))
    x = torch.rand(1, 3, 4, 3)
    padded = F.pad(x, (0, 0, 0, 0, 0, 1))
    for i in range(2):
        for j in range(2):
            square = padded[0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            column = torch.cat((square[0, 0], square[1, 0], square[0, 1], square[1, 1]))
            same(module(x)[0, i, j], module.reduction(module.norm(column)))


def test_a_map_that_vanishes_is_refused() -> None:
    with pytest.raises(ConfigError, match="the image is too small: a map of 1 x 4 vanishes under"):
        NormConv(kernel=2).count(8, 8, (1, 4))
    with pytest.raises(ArchitectureError, match="kernel must be 2 or 3, got 5"):
        NormConv(kernel=5)


# ---------------------------------------------------------------- windows


def test_windows_are_maps_of_their_own() -> None:
    """A stage with windows does to each window what one without does to a map of that size."""
    blocks = (Block(MetaFormer(), Attention(head_dim=8)), Block(Gated(), SSM(d_state=2)))
    windowed = Architecture((Stage(16, blocks, window=3),), stem=Patch())
    whole = dataclasses.replace(windowed, stages=(Stage(16, blocks),))
    net, plain = network(windowed), network(whole)
    (stage,) = net.stages
    renamed = {
        key.replace("stages.0.blocks.1", "stages.1.blocks.0"): value
        for key, value in net.state_dict().items()
    }
    plain.load_state_dict(renamed)
    x = torch.rand(2, 5, 7, 16)
    padded = F.pad(x, (0, 0, 0, 2, 0, 1))  # to 6 x 9
    with torch.no_grad():
        got = stage(x)
        for top in (0, 3):
            for left in (0, 3, 6):
                window = plain.stages(padded[:, top : top + 3, left : left + 3])
                part = got[:, top : top + 3, left : left + 3]
                same(part, window[:, : part.shape[1], : part.shape[2]])


def test_features_of_one_stage_with_windows() -> None:
    blocks = (Block(Gated(), GatedConv()),) * 3
    getter = build(Architecture((Stage(16, blocks, window=4),), stem=Patch()), features_only=True)
    (only,) = getter(torch.rand(1, 3, 40, 24))
    assert only.shape == (1, 16, 10, 6)


def test_windows_that_are_none_are_refused() -> None:
    block = Block(Gated(), GatedConv())
    for window in (0, -1, 2.0, True):
        with pytest.raises(ArchitectureError, match="window must be a positive integer, got"):
            Stage(16, (block,), window=window)  # type: ignore[arg-type]
    with pytest.raises(ArchitectureError, match="must have one stage and no windows, got 1"):
        Architecture((Stage(16, (block,), window=7),), stem=Tokens())


# ---------------------------------------------------------------- class token


@pytest.mark.parametrize("size", [(32, 32), (40, 24)])
def test_a_class_token_stands_in_the_middle(size: tuple[int, int]) -> None:
    """Vim's: after half of the patches, with the position that is learned for it."""
    module: Any = randomised(Tokens(patch=8, grid=4, class_token="middle").build(3, 6))
    image = torch.rand(2, 3, *size)
    H, W = size[0] // 8, size[1] // 8
    patches = module.conv1(image).flatten(2).transpose(1, 2)
    grid = module.pos_embed[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    if (H, W) != (4, 4):
        grid = F.interpolate(grid, (H, W), mode="bicubic", antialias=True)
    patches = patches + grid.flatten(2).transpose(1, 2)
    token = (module.cls_token + module.pos_embed[:, :1]).expand(2, 1, 6)
    half = H * W // 2
    want = torch.cat((patches[:, :half], token, patches[:, half:]), 1)
    same(module(image), want.unsqueeze(1))


def test_positions_and_class_token_start_as_timms() -> None:
    torch.manual_seed(0)
    module: Any = Tokens().build(3, 192)
    assert 0.018 < module.pos_embed.std() < 0.022
    assert 0 < module.cls_token.std() < 2e-6


@pytest.mark.parametrize("place", ["first", "middle"])
def test_the_class_token_is_pooled_and_the_patches_are_the_map(place: Any) -> None:
    stem = Tokens(patch=8, grid=4, class_token=place)
    block = Block(MetaFormer(), Attention(head_dim=8))
    net = network(Architecture((Stage(16, (block,)),), stem=stem, head=LinearHead()))
    image = torch.rand(1, 3, 40, 24)  # 15 patches
    with torch.no_grad():
        tokens = net.forward_features(image)
        assert tokens.shape == (1, 16, 16)
        at = 0 if place == "first" else 7
        same(net(image), net.head.fc(net.head.norm(tokens[:, at])))
        patches = torch.cat((tokens[:, :at], tokens[:, at + 1 :]), 1)
        (features,) = net.forward_intermediates(image, intermediates_only=True)
        same(features, patches.transpose(1, 2).unflatten(2, (5, 3)))
        net.reset_classifier(10, "avg")
        same(net.forward_head(tokens, pre_logits=True), net.head.norm(patches.mean(1)))


# ---------------------------------------------------------------- heads


HEAD_CASES: list[Head] = [
    LinearHead(),
    LinearHead(norm="batch", norm_first=True),
    LinearHead(norm="layer_1e-5", norm_first=True),
    MlpHead(act="squared_relu"),
    MlpHead(ratio=2.5, hidden_norm=False, norm_first=True),
]


@pytest.mark.parametrize("head", HEAD_CASES, ids=repr)
@pytest.mark.parametrize("pool", ["avg", "max", "avgmax", ""])
def test_a_head_is_its_parts_in_order(head: Head, pool: str) -> None:
    module: Any = randomised(ClassifierHead(head, 8, 3, pool, 0.0, "none")).eval()
    x = torch.randn(2, 4, 5, 8)

    def pooled(y: Tensor) -> Tensor:
        mean, largest = y.mean((1, 2)), y.amax((1, 2))
        return {"avg": mean, "max": largest, "avgmax": (mean + largest) / 2, "": y}[pool]

    y = pooled(module.norm(x)) if head.norm_first else module.norm(pooled(x))
    same(module(x, pre_logits=True), module.pre_logits(y))
    same(module(x), module.fc(module.pre_logits(y)))
    assert head.count(8, 3, (4, 5)).params == sum(p.numel() for p in module.parameters())


def test_a_ratio_that_leaves_no_hidden_layer() -> None:
    head = MlpHead(ratio=0.1)
    module = ClassifierHead(head, 8, 3, "avg", 0.0, "none")
    assert module(torch.rand(2, 4, 5, 8)).shape == (2, 3)
    assert head.count(8, 3, (4, 5)).params == sum(p.numel() for p in module.parameters())


def test_a_head_on_pooled_vectors_has_no_batch_norm() -> None:
    with pytest.raises(ArchitectureError, match="norm 'batch' works on maps: set norm_first"):
        LinearHead(norm="batch")
    block, head = Block(Gated(), GatedConv()), LinearHead(norm="batch", norm_first=True)
    with pytest.raises(ArchitectureError, match="norm 'batch' works on maps, but a class token"):
        Architecture((Stage(16, (block,)),), stem=Tokens(), head=head)


# ---------------------------------------------------------------- convolutional blocks


def batch_normed(x: Tensor, norm: Any) -> Tensor:
    bn = norm.bn
    return (x - bn.running_mean) / (bn.running_var + bn.eps).sqrt() * bn.weight + bn.bias


def convolved(x: Tensor, conv: Any) -> Tensor:
    """A dense 3 x 3 convolution of one map (H, W, C), by its sum."""
    H, W, _ = x.shape
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))
    total = conv.bias.expand(H, W, -1)
    for i in range(3):
        for j in range(3):
            total = total + padded[i : i + H, j : j + W] @ conv.weight[:, :, i, j].T
    return total


def test_the_basic_block() -> None:
    """ResNet's, with MambaVision's activation: x + s BN(conv(gelu(BN(conv(x)))))."""
    form = Basic(act="gelu_tanh", layer_scale=0.5)
    block: Any = randomised(form.build(Conv(kernel=3, depthwise=False), 6, 0.0)).eval()
    for norm in (block.norm1, block.norm2):
        norm.bn.running_mean.uniform_(-1, 1)
        norm.bn.running_var.uniform_(0.5, 2)
    x = torch.randn(1, 4, 3, 6)
    y = batch_normed(convolved(x[0], block.mixer1), block.norm1)
    y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
    y = batch_normed(convolved(y, block.mixer2), block.norm2)
    same(block(x)[0], x[0] + block.scale.scale * y)


def test_batch_norm_is_found_for_several_processes() -> None:
    block = Basic().build(Conv(kernel=3), 6, 0.0)
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(block)
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in synced.modules()) == 2


def test_forms_refuse_what_leaves_no_channels() -> None:
    with pytest.raises(ArchitectureError, match="gate 'silu' needs an input projection"):
        MetaFormer(gate="silu")
    with pytest.raises(ArchitectureError, match="mlp_ratio must be positive"):
        ConvNeXt(mlp_ratio=0)
    with pytest.raises(ArchitectureError, match="leaves no channels of a width of 8"):
        Stage(8, (Block(ConvNeXt(mlp_ratio=0.1), Conv()),))
