"""The scan of a map along its directions, and the published mixers made of it, against their
definitions in float64: outputs and every gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scan_oracle import direction_outputs, scanned, visits
from torch import Tensor, nn
from torch.nn import functional as F

from hybridnas.mixers.modules.scan import SelectiveScan2D
from hybridnas.mixers.modules.sequences import read_sequence, write_sequence
from hybridnas.mixers.orders import length, order_of
from hybridnas.mixers.ssm import SSM
from hybridnas.reference import reference

DIRECTIONS = ("h", "h_flip", "v", "v_flip", "w2", "w2_flip", "w7", "w7_flip")
ORDERS = [
    *DIRECTIONS,
    "h v h_flip v_flip",  # VMamba
    "h h_flip",  # Vim
    "h h h h",  # unidirectional
    "h h h_flip h_flip",  # bidirectional
    "h_flip v_flip w2_flip w7",  # LocalMamba
    "w3 v",
]
SIZES = [(7, 5), (14, 9), (1, 1), (1, 4), (3, 1)]


def random_scan(directions: str, channels: int = 6, **options: Any) -> SelectiveScan2D:
    """A scan in float64 whose directions differ in every parameter."""
    torch.manual_seed(0)
    orders = SSM(directions=directions).orders()
    net = SelectiveScan2D(channels, 2, 3, orders, **options).double()
    for parameter in net.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return net


def assert_same(net: nn.Module, got: Tensor, want: Tensor, x: Tensor) -> None:
    """Equal outputs, and equal gradients of x and of every parameter."""
    torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)
    direction = torch.randn_like(got)
    inputs = {"x": x, **dict(net.named_parameters())}
    pairs = [
        torch.autograd.grad(y, list(inputs.values()), direction, allow_unused=True)
        for y in (got, want)
    ]
    for name, ours, theirs in zip(inputs, *pairs, strict=True):
        assert ours is not None, name
        assert theirs is not None, name
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9, msg=name)


@pytest.mark.parametrize("directions", ORDERS)
@pytest.mark.parametrize("size", SIZES)
def test_a_scan_is_a_recurrence_along_each_direction(
    directions: str, size: tuple[int, int]
) -> None:
    net = random_scan(directions)
    x = torch.randn(2, *size, 6, dtype=torch.double, requires_grad=True)
    want = torch.stack([scanned(net, image, directions.split(" ")) for image in x])
    assert_same(net, net(x), want, x)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_every_direction_reads_the_map_in_its_own_order(
    direction: str, size: tuple[int, int]
) -> None:
    order = order_of(direction)
    assert order is not None
    window, flip = order
    H, W = size
    x = torch.arange(1.0, H * W + 1).view(1, H, W, 1).expand(2, H, W, 3)
    sequence = read_sequence(x, window, flip)
    want = [x[0, at[0], at[1], 0].item() if at else 0.0 for at in visits(direction, H, W)]
    assert sequence.shape == (2, 3, length(window, H, W))
    assert sequence[1, 2].tolist() == want
    assert torch.equal(write_sequence(sequence, window, flip, H, W), x)


def test_windows_are_visited_row_by_row() -> None:
    """LocalMamba's figure 2 on a map of 4 x 4 with windows of 2 x 2."""
    map4 = torch.arange(16).view(1, 4, 4, 1)
    expected = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
    assert read_sequence(map4, 2, False)[0, 0].tolist() == expected
    assert read_sequence(map4, 2, True)[0, 0].tolist() == expected[::-1]


def test_the_state_goes_on_from_one_window_to_the_next() -> None:
    net, x = random_scan("w2"), torch.randn(1, 4, 4, 6, dtype=torch.double)
    before = net(x)
    x[0, 0, 0] += 1  # the first token of the first window
    assert ((net(x) - before).abs().amax(-1) > 1e-9).all()


# ---------------------------------------------------------------- published mixers


def randomised(module: nn.Module) -> nn.Module:
    """In float64, with no parameter near what it starts at."""
    module = module.double()
    for parameter in module.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return module.eval()


def block_of(name: str, stage: int = 0, width: int = 16) -> Any:
    """The first block of a reference's stage, at a width that an oracle can afford."""
    torch.manual_seed(0)
    block = reference(name).stages[stage].blocks[0]
    return randomised(block.form.build(block.mixer, width, 0.0))


def layer_norm(x: Tensor, norm: Any) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return (
        centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight
        + norm.bias
    )


def silu(x: Tensor) -> Tensor:
    return x / (1 + (-x).exp())


def convolved(x: Tensor, conv: Any) -> Tensor:
    """A depthwise 3 x 3 convolution of one map (H, W, C), by its sum."""
    H, W, _ = x.shape
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))
    total = sum(
        padded[i : i + H, j : j + W] * conv.weight[:, 0, i, j] for i in range(3) for j in range(3)
    )
    assert isinstance(total, Tensor)
    return total if conv.bias is None else total + conv.bias


FOUR = ("h", "v", "h_flip", "v_flip")


def test_vmambas_first_block() -> None:
    """arXiv 2401.10166v1, figure 4: x + Out(LN(SS2D(silu(conv x))) * silu(z))."""
    block = block_of("vmamba_v0_tiny")
    x = torch.randn(1, 4, 3, 16, dtype=torch.double, requires_grad=True)
    y = layer_norm(x[0], block.norm) @ block.proj_in.weight.T
    y, z = y[..., :32], y[..., 32:]
    y = scanned(block.mixer.scan, silu(convolved(y, block.mixer.conv)), FOUR)
    y = layer_norm(y, block.mixer.norm) * silu(z)
    assert_same(block, block(x)[0], x[0] + y @ block.proj_out.weight.T, x)


def test_vmambas_published_block() -> None:
    """x + Out(LN(SS2D(silu(conv x)))), then x + MLP(LN x); one number of state."""
    block = block_of("vmamba_tiny_s2l5")
    assert block.mixer.scan.d_state == 1
    assert block.mixer.conv.bias is None
    x = torch.randn(1, 3, 4, 16, dtype=torch.double, requires_grad=True)
    y = layer_norm(x[0], block.norm) @ block.proj_in.weight.T
    y = layer_norm(
        scanned(block.mixer.scan, silu(convolved(y, block.mixer.conv)), FOUR), block.mixer.norm
    )
    middle = x[0] + y @ block.proj_out.weight.T
    mlp = block.mlp
    z = layer_norm(middle, mlp.norm) @ mlp.fc1.weight.T + mlp.fc1.bias
    want = middle + F.gelu(z) @ mlp.fc2.weight.T + mlp.fc2.bias
    assert_same(block, block(x)[0], want, x)


@pytest.mark.parametrize("size", [(7, 5), (4, 4)])
def test_localmambas_block(size: tuple[int, int]) -> None:
    """Directions of its own, each one's output under the channel attention that they share."""
    block = block_of("localvmamba_tiny")
    scan = block.mixer.scan
    x = torch.randn(1, *size, 16, dtype=torch.double, requires_grad=True)
    y = layer_norm(x[0], block.norm) @ block.proj_in.weight.T
    y, z = y[..., :32], silu(y[..., 32:])
    y = silu(convolved(y, block.mixer.conv))
    total = torch.zeros_like(y)
    for each in direction_outputs(scan, y, ("h", "h_flip", "w7", "w7_flip")):
        mean = layer_norm(each, scan.attention.norm).mean((0, 1))
        hidden = F.gelu(scan.attention.reduce.weight @ mean + scan.attention.reduce.bias)
        gate = scan.attention.expand.weight @ hidden + scan.attention.expand.bias
        total = total + each / (1 + (-gate).exp())
    y = layer_norm(total, block.mixer.norm) * z
    assert scan.attention.reduce.out_features == 32 // 8
    assert_same(block, block(x)[0], x[0] + y @ block.proj_out.weight.T, x)


def test_vims_block() -> None:
    """arXiv 2401.09417, algorithm 1 as released: two branches with a causal convolution and a
    gate inside of each, whose sum is halved."""
    block = block_of("vim_tiny")
    assert block.mixer.scan.conv.kernel_size == (4,)
    x = torch.randn(1, 1, 7, 16, dtype=torch.double, requires_grad=True)  # a sequence
    rms = (x[0].square().mean(-1, keepdim=True) + 1e-5).sqrt()
    y = (x[0] / rms * block.norm.weight) @ block.proj_in.weight.T
    y, z = y[..., :32], y[..., 32:]
    forward, backward = direction_outputs(block.mixer.scan, y, ("h", "h_flip"))
    y = (forward * silu(z) + backward * silu(z)) / 2
    assert_same(block, block(x)[0], x[0] + y @ block.proj_out.weight.T, x)


def test_mambavisions_mixer() -> None:
    """arXiv 2407.08083, eq. 6: concat(scan(silu(conv x)), silu(conv z)), in one direction, with
    convolutions along the sequence that see both sides."""
    block = block_of("mambavision_tiny", stage=2)
    mixer = block.mixer
    x = torch.randn(1, 3, 4, 16, dtype=torch.double, requires_grad=True)
    y = layer_norm(x[0], block.norm) @ block.proj_in.weight.T
    padded = F.pad(y.reshape(12, 16), (0, 0, 1, 1))
    assert mixer.conv.bias is None
    y = silu(sum(padded[k : k + 12] * mixer.conv.weight[:, 0, k] for k in range(3)))
    scan = scanned(mixer.scan, y[:, :8].view(3, 4, 8), ("h",))
    assert mixer.scan.d_state == 8
    both = torch.cat((scan, y[:, 8:].view(3, 4, 8)), -1)
    middle = x[0] + both @ block.proj_out.weight.T
    z = layer_norm(middle, block.mlp.norm) @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
    want = middle + F.gelu(z) @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
    assert_same(block, block(x)[0], want, x)


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directions": "h u"}, "directions must be h, v or w2, w7, .*, got 'h u'"),
        ({"directions": "w0"}, "directions must be"),
        ({"directions": "h  v"}, "directions must be"),
        ({"directions": ""}, "directions must be"),
        ({"kernel": 4}, "kernel must be odd"),
        ({"kernel": 4, "conv": "1d"}, "kernel must be odd"),
        ({"kernel": 0, "conv": "causal"}, "a causal convolution needs a positive kernel"),
        ({"conv": "causal", "scan_ratio": 0.5}, "scan_ratio 1 and conv_bias, got kernel 3"),
        ({"scan_ratio": 0}, "needs 0 < scan_ratio <= 1"),
        ({"scan_ratio": 1.5}, "needs 0 < scan_ratio <= 1"),
        ({"channel_attention": -1}, "channel_attention >= 0"),
        ({"d_state": 0}, "d_state must be positive"),
        ({"conv": "3d"}, "conv must be one of '2d', '1d', 'causal', got '3d'"),
        ({"merge": "max"}, "merge must be one of 'sum', 'mean', got 'max'"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SSM(**options)


def test_too_few_channels_are_refused() -> None:
    SSM(scan_ratio=0.5, channel_attention=8).check_channels(16)
    with pytest.raises(ValueError, match=r"15 mixed channels are too few for scan_ratio 0\.5"):
        SSM(scan_ratio=0.5, channel_attention=8).check_channels(15)


def test_a_scan_starts_as_mambas() -> None:
    torch.manual_seed(0)
    net = SelectiveScan2D(64, 4, 16, SSM(directions="h v").orders())
    steps = torch.arange(1, 17.0)
    torch.testing.assert_close(net.A_log.exp(), steps.expand(2, 64, 16))
    dt = F.softplus(net.dt_bias)
    assert dt.min() >= 1e-3 * 0.999
    assert dt.max() <= 1e-1 * 1.001
    assert dt.log().std() > 1  # spread over both decades
    assert (net.D == 1).all()
    assert 0.9 * 4**-0.5 < net.dt_proj.abs().max() <= 4**-0.5
    assert 0.9 * 64**-0.5 < net.x_proj.abs().max() <= 64**-0.5
