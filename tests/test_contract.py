"""timm's model contract, for every reference architecture (once for sizes that differ in widths
only) and 25 random ones of `hybrid` (50 with HYBRIDNAS_WHOLE=1), all of them narrow, in the spirit
of timm's own tests/test_models.py."""

from __future__ import annotations

import copy
import inspect
import math
from typing import Any

import pytest
import timm
import torch
from contract_helpers import ARCHITECTURES, DISTINCT, IMAGES, narrow, network, shallow
from timm.layers import DropPath
from timm.models import FeatureInfo
from timm.models._features import FeatureGetterNet
from timm.models._manipulate import group_parameters
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import Tensor, nn

from hybridnas.architecture import Architecture
from hybridnas.checkpoint import checkpoint_filter_fn
from hybridnas.reference import REFERENCES
from hybridnas.timm_entry import build


@pytest.fixture(scope="module", params=DISTINCT)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def architecture(name: str) -> Architecture:
    return narrow(ARCHITECTURES[name])


@pytest.fixture(scope="module")
def made(architecture: Architecture) -> Any:
    """The network, which tests leave as it is; made once for all of them."""
    return network(architecture)


@pytest.fixture
def net(made: nn.Module) -> Any:
    """A copy to change."""
    return copy.deepcopy(made)


def maps_of(net: Any, **options: Any) -> list[Tensor]:
    with torch.no_grad():
        found: list[Tensor] = net.forward_intermediates(IMAGES, intermediates_only=True, **options)
    return found


def test_forward(made: Any) -> None:
    with torch.no_grad():
        features = made.forward_features(IMAGES)
        logits, hidden = made(IMAGES), made.forward_head(features, pre_logits=True)
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()
    assert logits.std(0).max() > 1e-5, "both images give the same"
    assert features.shape[-1] == made.num_features
    assert hidden.shape == (2, made.head_hidden_size)
    assert torch.equal(logits, made.forward_head(features))
    torch.testing.assert_close(made.get_classifier()(hidden), logits)


def test_other_sizes(made: Any) -> None:
    size = (45, 75)
    with torch.no_grad():
        assert made(torch.rand(1, 3, *size)).isfinite().all()
        final, maps = made.forward_intermediates(torch.rand(1, 3, *size))
    info = FeatureInfo(made.feature_info, len(made.feature_info))
    for y, channels, reduction in zip(maps, info.channels(), info.reduction(), strict=True):
        assert y.shape[1] == channels
        for side, pixels in zip(y.shape[2:], size, strict=True):
            assert pixels // reduction <= side <= math.ceil(pixels / reduction)
    assert final.shape[-1] == made.num_features


def test_forward_intermediates(made: Any) -> None:
    maps = maps_of(made)
    last = len(made.feature_info) - 1
    with torch.no_grad():
        final, again = made.forward_intermediates(IMAGES)
        assert torch.equal(final, made.forward_features(IMAGES))
    assert all(torch.equal(a, b) for a, b in zip(maps, again, strict=True))
    assert [y.shape[1] for y in maps] == [info["num_chs"] for info in made.feature_info]
    for a, b in zip(maps, maps_of(made, output_fmt="NHWC"), strict=True):
        assert torch.equal(a.permute(0, 2, 3, 1), b)
    ends = maps_of(made, indices=[0, last])
    assert len(ends) == 2
    assert all(torch.equal(a, maps[i]) for a, i in zip(ends, (0, last), strict=True))
    (first,) = maps_of(made, indices=[0], stop_early=True)
    assert torch.equal(first, maps[0])
    assert len(maps_of(made, indices=2)) == 2
    *_, normed = maps_of(made, norm=True, output_fmt="NHWC")
    torch.testing.assert_close(normed, made.head.norm(maps[-1].permute(0, 2, 3, 1)))
    with pytest.raises(ValueError, match="output_fmt must be 'NCHW' or 'NHWC', got 'NLC'"):
        made.forward_intermediates(IMAGES, output_fmt="NLC")


def test_features_only(architecture: Architecture, made: Any) -> None:
    getter = build(architecture, features_only=True, out_indices=(0, 1), in_chans=5)
    assert isinstance(getter, FeatureGetterNet)
    assert getter.feature_info.channels() == [i["num_chs"] for i in made.feature_info[:2]]
    with torch.no_grad():
        shapes = [tuple(y.shape) for y in getter(torch.rand(1, 5, 32, 64))]
    strides = getter.feature_info.reduction()
    assert shapes == [
        (1, channels, 32 // stride, 64 // stride)
        for channels, stride in zip(getter.feature_info.channels(), strides, strict=True)
    ]
    for norm in (False, True):
        same = FeatureGetterNet(copy.deepcopy(made), out_indices=(-1,), norm=norm)
        with torch.no_grad():
            (got,) = same(IMAGES)
        torch.testing.assert_close(got, maps_of(made, norm=norm)[-1])


def test_prune_intermediate_layers(made: Any, net: Any) -> None:
    last = len(made.feature_info) - 1
    maps = maps_of(made)
    whole = copy.deepcopy(net)
    assert whole.prune_intermediate_layers([last], prune_head=False) == [last]
    with torch.no_grad():
        assert torch.equal(whole(IMAGES), made(IMAGES))
    assert net.prune_intermediate_layers([0], prune_norm=True) == [0]
    assert torch.equal(maps_of(net, indices=[0])[0], maps[0])
    assert net.num_features == net.head_hidden_size == made.feature_info[0]["num_chs"]
    with torch.no_grad():
        assert torch.equal(net(IMAGES), net.forward_features(IMAGES))
    net.train()(IMAGES).square().mean().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []
    net.reset_classifier(7, "avg")
    assert net(IMAGES).shape == (2, 7)


def test_reset_classifier(made: Any, net: Any) -> None:
    assert inspect.signature(net.reset_classifier).parameters["global_pool"].default is None
    with torch.no_grad():
        features = net.forward_features(IMAGES)
        hidden = net.forward_head(features, pre_logits=True)
        net.reset_classifier(7)
        assert (net.num_classes, net.get_classifier().out_features) == (7, 7)
        assert torch.equal(net.forward_head(features, pre_logits=True), hidden)
        assert net(IMAGES).shape == (2, 7)
        net.reset_classifier(0)
        assert isinstance(net.get_classifier(), nn.Identity)
        assert torch.equal(net(IMAGES), hidden)
        net.reset_classifier(5, "max")
        assert not torch.allclose(net.forward_head(features, pre_logits=True), hidden)
        net.reset_classifier(0, "")
        assert net(IMAGES).shape == (*features.shape[:-1], net.head_hidden_size)
        net.reset_classifier(0, "avg", reset_other=True)
        assert net(IMAGES).shape == (2, net.num_features)
    assert net.head_hidden_size == net.num_features
    with pytest.raises(ValueError, match=r"global_pool must be one of 'avg', .*, got 'catav"):
        net.reset_classifier(7, "catavgmax")
    net.to("meta", torch.float64).train()
    net.reset_classifier(3)
    like = next(net.parameters())
    assert all((p.device, p.dtype) == (like.device, like.dtype) for p in net.parameters())
    assert all(module.training for module in net.modules())


def test_every_parameter_learns_with_checkpointing_or_without(made: Any, net: Any) -> None:
    net.train()
    saving = copy.deepcopy(net)
    saving.set_grad_checkpointing()
    losses = []
    for each in (net, saving):
        loss = each(IMAGES).square().sum()
        loss.backward()
        losses.append(loss)
    torch.testing.assert_close(*losses)
    for (parameter, p), q in zip(net.named_parameters(), saving.parameters(), strict=True):
        assert p.grad is not None, parameter
        assert p.grad.isfinite().all(), parameter
        torch.testing.assert_close(p.grad, q.grad, msg=parameter, atol=1e-4, rtol=1e-3)


def test_groups_of_parameters(made: Any) -> None:
    names = [n for n, _ in made.named_parameters()]
    depth = sum(len(stage.blocks) for stage in made.stages)
    for coarse, layers in ((False, depth), (True, len(made.stages))):
        groups = group_parameters(made, made.group_matcher(coarse=coarse), reverse=True)
        assert [*groups] == names
        assert set(groups.values()) == set(range(layers + 2))  # stem, blocks or stages, head
        assert groups["stem.conv1.weight"] == 0
        assert groups["head.fc.weight"] == layers + 1
    assert made.no_weight_decay() <= {*names}
    free, _ = param_groups_weight_decay(made, 0.05, no_weight_decay_list=made.no_weight_decay())
    small = {id(p) for n, p in made.named_parameters() if n in made.no_weight_decay()}
    assert small <= {id(p) for p in free["params"]}
    groups = param_groups_layer_decay(made, 0.05, layer_decay=0.5)
    scales = {p: g["lr_scale"] for g in groups for p in g["params"]}
    assert scales[made.head.fc.weight] == 1
    assert scales[made.stem.conv1.weight] == pytest.approx(0.5 ** (depth + 1))


@pytest.mark.parametrize("which", ARCHITECTURES)
def test_default_cfg(which: str) -> None:
    architecture, known = ARCHITECTURES[which], which in REFERENCES
    model: Any = (
        timm.create_model(f"hybridnas_{which}", device="meta", dtype=torch.float64)
        if known  # at its whole depth
        else build(architecture, device="meta", dtype=torch.float64)
    )
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("meta", torch.float64)}
    cfg, modules = model.default_cfg, dict(model.named_modules())
    assert {cfg["first_conv"], cfg["classifier"]} <= modules.keys()
    assert cfg["input_size"] == (model.in_chans, 224, 224)
    assert (cfg["num_classes"], model.num_classes) == (1000, 1000)
    images = torch.zeros(1, *cfg["input_size"], device="meta", dtype=torch.float64)
    if known:  # maps of a shallow one are as large
        model = build(shallow(architecture), device="meta", dtype=torch.float64)
    *_, last = model.forward_intermediates(images, intermediates_only=True)
    assert last.shape[2:] == cfg["pool_size"]
    with pytest.raises(TypeError, match="not_an_argument"):
        build(architecture, device="meta", not_an_argument=1)


def test_drop_path(architecture: Architecture) -> None:
    net = build(architecture, device="meta", drop_path_rate=0.3)
    rates = [m.drop_prob for m in net.modules() if isinstance(m, DropPath)]
    assert len(rates) == sum(stage.depth for stage in architecture.stages) - 1  # the first: 0
    assert rates == sorted(rates)
    assert max(rates) == pytest.approx(0.3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits(made: Any, net: Any, dtype: torch.dtype) -> None:
    with torch.no_grad():
        want = made(IMAGES)
        got = net.to(dtype)(IMAGES.to(dtype))
    assert got.dtype == dtype
    error = (got.float() - want).norm() / want.norm()
    assert error < (0.1 if dtype == torch.bfloat16 else 0.03)


def test_copies_and_state_dicts(made: Any, net: Any, architecture: Architecture) -> None:
    other = network(architecture, seed=1)
    with torch.no_grad():
        want = made(IMAGES)
        assert not torch.allclose(other(IMAGES), want)
        state = checkpoint_filter_fn(made.state_dict(), other)
        other.load_state_dict(state)
        assert torch.equal(other(IMAGES), want)
        assert torch.equal(net(IMAGES), want)
    assert net.architecture == architecture


def test_weights_are_drawn_anew_in_place(architecture: Architecture) -> None:
    net: Any = build(architecture, num_classes=10, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            if tensor.is_floating_point():
                tensor.fill_(float("nan"))
        net.init_weights()
        assert net.eval()(IMAGES).isfinite().all()
