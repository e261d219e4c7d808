"""Token mixers in their block forms: one contract for all, and each against its definition."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import torch
from scan_oracle import scanned
from torch import Tensor, nn
from torch.nn import functional as F

from hybridnas.layers import FORMS, Form
from hybridnas.layers.blocks import Gated, MetaFormer
from hybridnas.layers.conv_blocks import Basic, ConvNeXt
from hybridnas.layers.modules.blocks import GatedBlock
from hybridnas.mixers import MIXERS, Mixer
from hybridnas.mixers.attention import Attention
from hybridnas.mixers.conv import Conv
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.mixers.modules.ssm import ConvScan
from hybridnas.mixers.ssm import SSM

WIDTH = 32  # Attention's default heads have 32 channels
SIZES = [(1, 1), (1, 5), (7, 4), (6, 6)]
# Every table row at its defaults, and options that take another path through the code.
CASES: list[tuple[Form, Mixer]] = [
    *((form(), mixer()) for form in FORMS.values() for mixer in MIXERS.values()),
    (Gated(expansion=2, conv_ratio=1.5, act="silu"), GatedConv(kernel=3)),
    (Gated(expansion=1, conv_ratio=1), Attention(head_dim=8)),  # nothing passes unmixed
    (Gated(conv_ratio=0.5), SSM(kernel=5, d_state=1, directions="h")),
    (MetaFormer(expansion=1.5, mlp_ratio=2, act="silu"), SSM(d_state=4, directions="v v_flip")),
    (MetaFormer(mlp_ratio=0), GatedConv()),
    (Gated(layer_scale=0.5, norm="rms", act="star_relu"), SSM(conv="1d", scan_ratio=0.5)),
    (
        MetaFormer(expansion=2, gate="silu", norm="batch", bias=False, res_scale=True),
        SSM(kernel=4, conv="causal", directions="w2 v", channel_attention=8, scan_norm="none"),
    ),
    (
        MetaFormer(mlp_bias=False, layer_scale=0.1, norm="layer_no_bias", act="squared_relu"),
        Attention(head_dim=16, qkv_bias=False),
    ),
    (MetaFormer(expansion=2, act="relu"), Conv(pre_act="star_relu", conv_bias=False)),
    (ConvNeXt(layer_scale=None, act="gelu_tanh", norm="layer_1e-5"), Conv(depthwise=False)),
    (Basic(layer_scale=1.0, norm="layer"), SSM(merge="mean", conv_bias=False)),
]
IDS = [f"{i}-{type(f).__name__}-{type(m).__name__}" for i, (f, m) in enumerate(CASES)]


def random_block(form: Form, mixer: Mixer, width: int = WIDTH) -> nn.Module:
    """A block in evaluation with weights that leave no term near zero."""
    torch.manual_seed(0)
    block = form.build(mixer, width, 0.0).eval()
    for name, parameter in block.named_parameters():
        if not name.endswith(("A_log", "dt_bias")):
            nn.init.normal_(parameter, std=0.3)
    return block


def relative_error(got: Tensor, want: Tensor) -> float:
    return ((got - want).norm() / want.norm()).item()


@pytest.mark.parametrize(("form", "mixer"), CASES, ids=IDS)
@pytest.mark.parametrize("size", SIZES)
def test_a_block_keeps_the_shape_and_trains_all_its_parameters(
    form: Form, mixer: Mixer, size: tuple[int, int]
) -> None:
    block = random_block(form, mixer)
    x = torch.randn(2, *size, WIDTH, requires_grad=True)
    y = block(x)
    assert y.shape == x.shape
    (y * torch.randn_like(y)).sum().backward()
    for name, tensor in (("x", x), *block.named_parameters()):
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name
        # In a sequence of one, no state has a past to decay and every token attends to itself.
        if size != (1, 1):
            assert tensor.grad.abs().max() > 0, name


@pytest.mark.parametrize(("form", "mixer"), CASES, ids=IDS)
@pytest.mark.parametrize("width", [32, 96])
def test_a_block_has_as_many_parameters_as_it_counts(form: Form, mixer: Mixer, width: int) -> None:
    block = form.build(mixer, width, 0.0)
    assert form.count(mixer, width, (1, 1)).params == sum(p.numel() for p in block.parameters())


@pytest.mark.parametrize(("form", "mixer"), CASES, ids=IDS)
def test_images_of_a_batch_do_not_see_each_other(form: Form, mixer: Mixer) -> None:
    block, x = random_block(form, mixer), torch.randn(3, 3, 4, WIDTH)
    apart = torch.cat([block(image.unsqueeze(0)) for image in x])
    torch.testing.assert_close(block(x), apart, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("form", "mixer"), CASES, ids=IDS)
def test_a_block_runs_in_bfloat16(form: Form, mixer: Mixer) -> None:
    block, x = random_block(form, mixer), torch.randn(2, 5, 6, WIDTH, requires_grad=True)
    want = block(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = block(x)
    assert 0 < relative_error(got - x, want - x) < 0.03  # bfloat16 holds 8 bits: 0.4 % a rounding
    got.float().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_gated_block_is_its_formula() -> None:
    block = random_block(Gated(expansion=2.5, conv_ratio=0.5, act="silu"), GatedConv(kernel=3))
    assert isinstance(block, GatedBlock)
    block = block.double()
    assert isinstance(block.norm, nn.LayerNorm)
    x = torch.randn(2, 4, 5, WIDTH, dtype=torch.double)
    z = F.layer_norm(x, (WIDTH,), block.norm.weight, block.norm.bias, 1e-6)
    z = z @ block.proj_in.weight.T + block.proj_in.bias
    gate, identity, mixed = z[..., :80], z[..., 80:144], z[..., 144:]
    conv: Any = block.mixer
    padded = F.pad(mixed, (0, 0, 1, 1, 1, 1))
    mixed = conv.bias + sum(
        padded[:, i : i + 4, j : j + 5] * conv.weight[:, 0, i, j]
        for i in range(3)
        for j in range(3)
    )
    y = (gate * gate.sigmoid()) * torch.cat((identity, mixed), -1)
    want = x + y @ block.proj_out.weight.T + block.proj_out.bias
    torch.testing.assert_close(block(x), want, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("act", ["gelu", "silu"])
def test_metaformer_block_is_its_formula(act: Literal["gelu", "silu"]) -> None:
    form = MetaFormer(expansion=2, mlp_ratio=1.5, act=act)
    block: Any = random_block(form, GatedConv()).double()
    x = torch.randn(2, 4, 5, WIDTH, dtype=torch.double)
    assert block.proj_in.out_features == 2 * WIDTH
    middle = x + block.proj_out(block.mixer(block.proj_in(block.norm(x))))
    z = block.mlp.fc1(block.mlp.norm(middle))
    assert z.shape[-1] == 48
    share = (1 + torch.erf(z / math.sqrt(2))) / 2 if act == "gelu" else 1 / (1 + (-z).exp())
    want = middle + block.mlp.fc2(z * share)
    torch.testing.assert_close(block(x), want, atol=1e-10, rtol=1e-10)


def test_attention_is_softmax_of_scaled_products() -> None:
    torch.manual_seed(0)
    net: Any = Attention(head_dim=8).build(24, 24).double()
    nn.init.normal_(net.qkv.weight, std=0.5)
    x = torch.randn(2, 3, 5, 24, dtype=torch.double)
    want = torch.empty_like(x)
    for b in range(2):
        tokens = x[b].reshape(15, 24)
        q, k, v = (tokens @ w.T + c for w, c in _thirds(net.qkv))
        heads = []
        for at in range(0, 24, 8):
            scores = q[:, at : at + 8] @ k[:, at : at + 8].T / math.sqrt(8)
            weights = scores.exp() / scores.exp().sum(1, keepdim=True)
            heads.append(weights @ v[:, at : at + 8])
        want[b] = torch.cat(heads, 1).view(3, 5, 24)
    torch.testing.assert_close(net(x), want, atol=1e-10, rtol=1e-10)


def _thirds(qkv: nn.Linear) -> list[tuple[Tensor, Tensor]]:
    return list(zip(qkv.weight.chunk(3), qkv.bias.chunk(3), strict=True))


def test_an_ssm_convolves_then_scans_then_normalises() -> None:
    torch.manual_seed(0)
    net: Any = SSM(kernel=5, d_state=3).build(8, 40).double()
    assert net.scan.rank == 3  # width / 16, rounded up
    nn.init.normal_(net.norm.weight)
    x = torch.randn(1, 3, 4, 8, dtype=torch.double)
    z = net.conv(x)
    assert net.conv.kernel_size == (5, 5)
    y = scanned(net.scan, (z / (1 + (-z).exp()))[0], ("h", "v", "h_flip", "v_flip"))
    y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
    assert relative_error(net(x)[0], y * net.norm.weight + net.norm.bias) < 1e-6


def test_an_ssm_block_without_its_scan_is_a_gated_conv_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    form = Gated()
    ssm = random_block(form, SSM(kernel=5))
    twin = random_block(form, GatedConv(kernel=5))
    assert isinstance(ssm, GatedBlock)
    assert isinstance(ssm.mixer, ConvScan)
    renamed = {name.replace("mixer.conv.", "mixer."): v for name, v in ssm.state_dict().items()}
    missing, unexpected = twin.load_state_dict(renamed, strict=False)
    assert missing == []
    assert all(name.startswith(("mixer.scan.", "mixer.norm.")) for name in unexpected)
    x = torch.randn(2, 5, 6, WIDTH)
    assert relative_error(ssm(x), twin(x)) > 0.1
    ssm.mixer.scan, ssm.mixer.norm = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    monkeypatch.setattr(F, "silu", lambda value: value)
    assert torch.equal(ssm(x), twin(x))


def test_drop_path_leaves_the_residual_alone() -> None:
    block = Gated().build(GatedConv(), WIDTH, 0.999)
    x = torch.randn(4, 3, 3, WIDTH)
    torch.manual_seed(0)
    assert torch.equal(block.train()(x), x)
    assert not torch.equal(block.eval()(x), x)


def test_no_form_and_mixer_share_the_name_of_an_option() -> None:
    """A space sets options by name, for both at once."""
    forms = {name for form in FORMS.values() for name in form.option_types()}
    mixers = {name for mixer in MIXERS.values() for name in mixer.option_types()}
    assert forms & mixers == set()
