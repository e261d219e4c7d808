"""`timm.create_model("hybridnas", ...)`, and what a built network keeps as a module."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from timm.layers import DropPath
from torch import nn

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.errors import ArchitectureError
from hybridnas.layers.blocks import Gated, MetaFormer
from hybridnas.mixers.attention import Attention
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.mixers.ssm import SSM
from hybridnas.reference import reference
from hybridnas.timm_entry import as_architecture, build, pretrained_cfg

CONV = Block(Gated(), GatedConv(kernel=3))
SCAN = Block(Gated(expansion=2), SSM(d_state=4, directions="h v_flip"))
ATTENTION = Block(MetaFormer(), Attention(head_dim=8))
HYBRID = Architecture((Stage(16, (CONV, SCAN)), Stage(24, (SCAN, ATTENTION))))
FEMTO = reference("mambaout_femto")
IMAGES = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))

every = pytest.mark.parametrize("architecture", [FEMTO, HYBRID], ids=["femto", "hybrid"])


def network(architecture: Architecture = HYBRID, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    return build(architecture, **{"num_classes": 10, **kwargs}).eval()


@every
@pytest.mark.parametrize("form", ["value", "mapping", "json"])
def test_create_model_takes_an_architecture(architecture: Architecture, form: str) -> None:
    given = {
        "value": architecture,
        "mapping": architecture.to_dict(),
        "json": architecture.to_json(),
    }
    torch.manual_seed(0)
    net: Any = timm.create_model("hybridnas", architecture=given[form], num_classes=10).eval()
    assert torch.equal(net(IMAGES), network(architecture)(IMAGES))
    assert net.default_cfg["classifier"] == "head.fc"
    assert net.default_cfg["first_conv"] == "stem.conv1"
    names = dict(net.named_modules())
    assert {"head.fc", "stem.conv1"} <= names.keys()


@pytest.mark.parametrize("pixels", [72, 224, 100, 3])
def test_pool_size_is_the_last_map(pixels: int) -> None:
    net = network(FEMTO)
    (last,) = net.forward_intermediates(
        torch.zeros(1, 3, pixels, pixels), indices=1, intermediates_only=True
    )
    assert pretrained_cfg(FEMTO, pixels)["pool_size"] == last.shape[2:]


def test_create_model_takes_the_name_of_a_reference() -> None:
    torch.manual_seed(0)
    net = timm.create_model("hybridnas", architecture="mambaout_femto", num_classes=10).eval()
    assert torch.equal(net(IMAGES), network(FEMTO)(IMAGES))
    assert as_architecture("mambaout_femto") == FEMTO
    with pytest.raises(ArchitectureError, match="unknown reference architecture 'mambaout_nano'"):
        timm.create_model("hybridnas", architecture="mambaout_nano")


@every
def test_create_model_passes_on_what_timm_users_set(architecture: Architecture) -> None:
    def create(**kwargs: Any) -> Any:
        return timm.create_model("hybridnas", architecture=architecture, **kwargs).eval()

    features = create(features_only=True, out_indices=(1,))
    (only,) = features(IMAGES)
    assert only.shape == (2, architecture.stages[1].width, 5, 7)
    assert features.feature_info.channels() == [architecture.stages[1].width]
    assert features.feature_info.reduction() == [8]
    assert len(create(features_only=True)(IMAGES)) == len(architecture.stages)
    assert create()(IMAGES).shape == (2, 1000)
    assert create(num_classes=0)(IMAGES).shape == (2, 4 * architecture.stages[-1].width)
    assert create(global_pool="", num_classes=3)(IMAGES).dim() == 4
    with pytest.raises(TypeError, match="unexpected keyword argument 'drop_paths'"):
        create(drop_paths=0.1)


@every
def test_images_of_other_channels(architecture: Architecture) -> None:
    net = network(architecture, in_chans=5)
    assert net.in_chans == net.stem.conv1.in_channels == 5
    assert net(torch.rand(1, 5, 40, 56)).shape == (1, 10)


def test_drop_path_acts_in_training_only() -> None:
    plain, net = network(), network(drop_path_rate=0.5)
    assert torch.equal(plain(IMAGES), net(IMAGES))
    torch.manual_seed(0)
    net.train()
    assert not torch.equal(net(IMAGES), net(IMAGES))
    assert torch.equal(plain.train()(IMAGES), plain(IMAGES))


def test_drop_path_rates_are_timms() -> None:
    def rates(net: nn.Module) -> dict[str, float | None]:
        modules = net.named_modules()
        return {name: m.drop_prob for name, m in modules if isinstance(m, DropPath)}

    want = rates(timm.create_model("mambaout_femto", drop_path_rate=0.3))
    assert len(want) == 17  # the first block of 18 has a rate of 0
    assert rates(network(FEMTO, drop_path_rate=0.3)) == pytest.approx(want)


def test_dropout_stands_before_the_classifier() -> None:
    net = network(drop_rate=0.5)
    assert torch.equal(net(IMAGES), network()(IMAGES))
    net.train()
    torch.manual_seed(0)
    dropped = net.forward_head(torch.rand(4, 5, 5, 24), pre_logits=True)
    assert 0.3 < (dropped == 0).float().mean() < 0.7


@every
def test_weights_start_as_timms(architecture: Architecture) -> None:
    net = network(architecture)
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            assert 0.015 < module.weight.std() < 0.025, name
            assert module.bias is None or not module.bias.any(), name
    scans = [m for name, m in net.named_modules() if name.endswith("mixer.scan")]
    assert len(scans) == (2 if architecture is HYBRID else 0)
    assert all((scan.D == 1).all() and scan.dt_bias.std() > 0.1 for scan in scans)


@every
def test_a_network_can_be_copied_and_its_weights_loaded(architecture: Architecture) -> None:
    net = network(architecture)
    want = net(IMAGES)
    twin = copy.deepcopy(net)
    for parameter in net.parameters():
        parameter.data.add_(0.1)
    assert not torch.equal(net(IMAGES), want)
    assert torch.equal(twin(IMAGES), want)
    assert twin.architecture == architecture
    net.load_state_dict(twin.state_dict())
    assert torch.equal(net(IMAGES), want)


def test_equal_seeds_give_equal_weights() -> None:
    first, second = network().state_dict(), network().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
