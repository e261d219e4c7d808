"""Token mixers in their block forms: one contract for all, and each against its definition."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hybridnas.layers import FORMS, Form
from hybridnas.layers.blocks import Gated, GatedBlock, MetaFormer
from hybridnas.mixers import MIXERS, Mixer
from hybridnas.mixers.attention import Attention
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.mixers.ssm import DIRECTIONS, SSM, ConvScan, SelectiveScan2D

WIDTH = 32  # Attention's default heads have 32 channels
SIZES = [(1, 1), (1, 5), (7, 4), (6, 6)]
ORDERS = ["h", "v", "h_flip", "v_flip", "h h_flip", "v_flip h", "h v h_flip v_flip"]
# Every table row at its defaults, and options that take another path through the code.
CASES: list[tuple[Form, Mixer]] = [
    *((form(), mixer()) for form in FORMS.values() for mixer in MIXERS.values()),
    (Gated(expansion=2, conv_ratio=1.5, act="silu"), GatedConv(kernel=3)),
    (Gated(expansion=1, conv_ratio=1), Attention(head_dim=8)),  # nothing passes unmixed
    (Gated(conv_ratio=0.5), SSM(kernel=5, d_state=1, directions="h")),
    (MetaFormer(expansion=1.5, mlp_ratio=2, act="silu"), SSM(d_state=4, directions="v v_flip")),
    (MetaFormer(mlp_ratio=0), GatedConv()),
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


def _positions(direction: str, H: int, W: int) -> list[tuple[int, int]]:
    """Where a direction reads its tokens, first one first."""
    by_row = [(i, j) for i in range(H) for j in range(W)]
    by_column = [(i, j) for j in range(W) for i in range(H)]
    order = by_column if direction.startswith("v") else by_row
    return order[::-1] if direction.endswith("_flip") else order


def _recurrence(net: SelectiveScan2D, x: Tensor) -> Tensor:
    """The selective scan of one map (H, W, C), token by token, one direction after the other."""
    (H, W, _), R, N = x.shape, net.rank, net.d_state
    y = torch.zeros_like(x)
    for k, direction in enumerate(net.directions):
        rows = net.x_proj.weight[k * (R + 2 * N) : (k + 1) * (R + 2 * N)]
        A = -net.A_log[k].exp()  # (C, N)
        state = torch.zeros_like(A)
        for i, j in _positions(direction, H, W):
            token = x[i, j]
            low, B, C = (rows @ token).split([R, N, N])
            raw = low @ net.dt_proj[k] + net.dt_bias[k]
            dt = torch.log1p(raw.exp())  # (C,)
            state = (dt[:, None] * A).exp() * state + dt[:, None] * B * token[:, None]
            y[i, j] += state @ C + net.D[k] * token
    return y


@pytest.mark.parametrize("directions", ORDERS)
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 1), (3, 5)])
def test_the_scan_is_a_recurrence_along_each_direction(
    directions: str, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    net = SelectiveScan2D(6, 2, 3, tuple(directions.split(" "))).double()
    for parameter in net.parameters():  # also apart in each direction
        parameter.data += 0.3 * torch.randn_like(parameter)
    x = torch.randn(2, *size, 6, dtype=torch.double)
    want = torch.stack([_recurrence(net, image) for image in x])
    # The decay is taken from float32 (Mamba's rule), so agreement is to its precision.
    assert relative_error(net(x), want) < 1e-6


def test_an_ssm_convolves_then_scans_then_normalises() -> None:
    torch.manual_seed(0)
    net: Any = SSM(kernel=5, d_state=3).build(8, 40).double()
    assert net.scan.rank == 3  # width / 16, rounded up
    nn.init.normal_(net.norm.weight)
    x = torch.randn(1, 3, 4, 8, dtype=torch.double)
    z = net.conv(x)
    assert net.conv.kernel_size == (5, 5)
    y = _recurrence(net.scan, (z / (1 + (-z).exp()))[0])
    y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
    assert relative_error(net(x)[0], y * net.norm.weight + net.norm.bias) < 1e-6


def test_every_direction_reads_the_map_in_its_own_order() -> None:
    orders = {name: tuple(_positions(name, 2, 3)) for name in DIRECTIONS}
    assert len(set(orders.values())) == 4
    assert orders["v"][:3] == ((0, 0), (1, 0), (0, 1))


def test_a_scan_starts_as_mambas() -> None:
    torch.manual_seed(0)
    net = SelectiveScan2D(64, 4, 16, ("h", "v"))
    steps = torch.arange(1, 17.0)
    torch.testing.assert_close(net.A_log.exp(), steps.expand(2, 64, 16))
    dt = F.softplus(net.dt_bias)
    assert dt.min() >= 1e-3 * 0.999
    assert dt.max() <= 1e-1 * 1.001
    assert dt.log().std() > 0.5 * math.log(100) / math.sqrt(12)  # spread over both decades
    assert (net.D == 1).all()
    assert 0.9 * 4**-0.5 < net.dt_proj.abs().max() <= 4**-0.5


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
