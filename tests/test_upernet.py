"""UperNet: against its closed form, against another implementation, on pyramids of any height."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
import torch
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.cost import cost
from hybridnas.errors import ConfigError
from hybridnas.heads import UPerNet
from hybridnas.heads.upernet import _stretch
from hybridnas.layers.blocks import Gated
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.network import HybridNet
from hybridnas.reference import reference

with warnings.catch_warnings():
    # fvcore compiles functions that nobody calls here with the deprecated torch.jit.script.
    warnings.simplefilter("ignore", FutureWarning)
    from fvcore.nn import FlopCountAnalysis

CONV = Block(Gated(), GatedConv())


def pyramid(*widths: int) -> Architecture:
    return Architecture(tuple(Stage(width, (CONV,)) for width in widths))


def segmenter(architecture: Architecture, num_classes: int = 5, **given: Any) -> UPerNet:
    torch.manual_seed(0)
    return UPerNet(HybridNet(architecture), num_classes, **given)


def params(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("size", "width"), [((64, 96), None), ((75, 110), 24)])
@pytest.mark.parametrize("widths", [(16, 24), (16, 24, 32), (8, 16, 24, 32), (8, 8, 16, 16, 24)])
def test_it_costs_what_the_closed_form_says(
    widths: tuple[int, ...], size: tuple[int, int], width: int | None
) -> None:
    architecture = pyramid(*widths)
    net = segmenter(architecture, **({} if width is None else {"width": width})).eval()
    head = cost(architecture, size, "segmentation", num_classes=5, head_width=width).head
    analysis = FlopCountAnalysis(net, torch.zeros(1, 3, *size))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    assert analysis.by_module_and_operator()["decode_head"]["conv"] == head.macs
    assert params(net.decode_head) + params(net.norms) == head.params
    whole = cost(architecture, size, "segmentation", num_classes=5, head_width=width).params
    assert params(net) - params(net.auxiliary_head) == whole


def test_it_costs_what_was_published() -> None:
    """MambaOut-Tiny on 512 x 2048 pixels: 938 G (Yu & Wang, CVPR 2025, table 3)."""
    architecture = reference("mambaout_tiny")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        net = segmenter(architecture, 150).eval()
        net(torch.zeros(1, 3, 512, 2048))
    flops = counter.get_flop_counts()
    assert sum(flops["UPerNet"].values()) / 2e9 == pytest.approx(938, abs=1.2)
    head = cost(architecture, task="segmentation").head
    assert sum(flops["UPerNet.decode_head"].values()) == 2 * head.macs
    aux = net.auxiliary_head
    # A 3 x 3 convolution of stage 3 (384 channels) to 256 with BatchNorm, and a classifier.
    assert params(aux) == 9 * 384 * 256 + 2 * 256 + 257 * 150


def _as_smp(name: str, num_finer: int) -> str:
    """Our name of a weight of the decoder, or of the norms before it, by smp's."""
    reverse = [str(num_finer - 1 - i) for i in range(num_finer)]
    name = re.sub(r"^norms\.", "feature_norms.", name)
    name = re.sub(r"^context\.pools\.", "psp.blocks.", name)
    name = re.sub(r"^context\.fuse", "psp.out_conv", name)
    name = re.sub(
        r"^laterals\.(\d)",
        lambda m: f"fpn_lateral_blocks.{reverse[int(m[1])]}.conv_norm_relu",
        name,
    )
    name = re.sub(r"^smooths\.(\d)", lambda m: f"fpn_conv_blocks.{reverse[int(m[1])]}", name)
    return re.sub(r"^fuse", "fusion_block", name)


@pytest.mark.parametrize("widths", [(16, 24), (8, 16, 24, 32)])
def test_its_decoder_computes_what_smps_does(widths: tuple[int, ...]) -> None:
    ours = segmenter(pyramid(*widths), width=32)
    ours.decode_head.add_module("classifier", nn.Identity())
    images = torch.randn(2, 3, 75, 110)
    ours(images)  # running means and variances that are not 0 and 1
    ours.eval()
    theirs = UPerNetDecoder([3, 0, *widths], len(widths) + 1, decoder_channels=32).eval()
    weights = {f"norms.{name}": value for name, value in ours.norms.state_dict().items()}
    weights |= ours.decode_head.state_dict()
    theirs.load_state_dict({_as_smp(k, len(widths) - 1): v for k, v in weights.items()})
    seen: list[torch.Tensor] = []
    ours.decode_head.register_forward_hook(lambda *given: seen.append(given[2]))
    ours(images)
    maps = ours.backbone.forward_intermediates(images, intermediates_only=True)
    want = theirs([images, images, *maps])
    assert want.abs().mean() > 0.1
    torch.testing.assert_close(seen[0], want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(64, 96), (33, 47)])
def test_logits_have_the_size_of_the_image(size: tuple[int, int]) -> None:
    net = segmenter(pyramid(8, 16, 24), width=16, aux_width=8)
    images = torch.randn(2, 3, *size)
    logits, auxiliary = net(images)
    assert logits.shape == auxiliary.shape == (2, 5, *size)
    (logits.square().mean() + auxiliary.square().mean()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert net.eval()(images).shape == (2, 5, *size)


@pytest.mark.parametrize(
    ("given", "size"), [((9, 16), (33, 64)), ((5, 7), (5, 7)), ((8, 8), (3, 4))]
)
def test_it_stretches_logits_as_interpolation_does(
    given: tuple[int, int], size: tuple[int, int]
) -> None:
    x = torch.randn(2, 3, *given, dtype=torch.float64, requires_grad=True)
    found = _stretch(x, size)
    want = F.interpolate(x, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, want, rtol=0, atol=1e-12)
    dy = torch.randn_like(want)
    slopes = (torch.autograd.grad(y, x, dy)[0] for y in (found, want))
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)


def test_logits_are_the_same_in_training() -> None:
    net = segmenter(pyramid(8, 16, 24), width=16, dropout=0.0).double()
    images = torch.randn(2, 3, 33, 64, dtype=torch.float64)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    torch.testing.assert_close(net(images)[0], net.eval()(images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("silent", range(4))
def test_the_auxiliary_head_reads_the_stage_before_the_last(silent: int) -> None:
    net = segmenter(pyramid(8, 16, 24, 32), width=16)
    norm = net.norms[silent]
    assert isinstance(norm, nn.LayerNorm)
    nn.init.zeros_(norm.weight)
    logits, auxiliary = net(torch.randn(2, 3, 64, 64))
    assert (auxiliary != 0).any() == (silent != 2)
    assert (logits != 0).any()  # the other maps are left


def test_weights_of_the_backbone_keep_their_names() -> None:
    classifier = HybridNet(pyramid(8, 16), num_classes=10)
    net = segmenter(pyramid(8, 16))
    found = net.backbone.load_state_dict(classifier.state_dict(), strict=False)
    assert not found.missing_keys
    assert all(key.startswith("head.") for key in found.unexpected_keys)


def test_it_runs_in_bfloat16() -> None:
    net = segmenter(pyramid(8, 16, 24), width=16, aux_width=8)
    images = torch.randn(2, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        logits, auxiliary = net(images)
    assert logits.dtype == auxiliary.dtype == torch.bfloat16
    want = net.eval()(images)
    with torch.autocast("cpu", torch.bfloat16):
        found = net(images).float()
    assert (found - want).abs().max() < 0.05 * want.abs().max()


def test_decay_spares_what_the_backbone_names() -> None:
    architecture = reference("vmamba_tiny_s1l8")
    with torch.device("meta"):
        net = segmenter(architecture)
    names = net.no_weight_decay()
    assert names
    assert names <= {name for name, _ in net.named_parameters()}
    assert all(name.endswith(("A_log", "D", "dt_bias")) for name in names)


@pytest.mark.parametrize("name", ["vim_tiny", "deit_tiny"])
def test_one_stage_is_no_pyramid(name: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigError, match="needs a pyramid of maps"):
        segmenter(reference(name))


def test_classifiers_start_with_logits_that_differ() -> None:
    """Near zero, as mmsegmentation has them, short trainings lose their first hundred steps."""
    net = segmenter(pyramid(8, 16, 24), 11, width=64, aux_width=32).eval()
    found = {name: m for name, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    for name, fan_in in (("decode_head.classifier", 64), ("auxiliary_head.2", 32)):
        want = (2 / (fan_in + 11)) ** 0.5
        assert found[name].weight.std().item() == pytest.approx(want, rel=0.15)
        bias = found[name].bias
        assert bias is not None
        assert not bias.any()
