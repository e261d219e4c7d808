"""The network as a timm model: timm's contract, and timm's own MambaOut as the oracle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.models._manipulate import group_parameters
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.layers.blocks import Gated, MetaFormer
from hybridnas.layers.heads import LinearHead
from hybridnas.mixers.attention import Attention
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.mixers.ssm import SSM
from hybridnas.reference import reference
from hybridnas.timm_entry import build

SCAN = Block(Gated(expansion=2), SSM(d_state=4, directions="h v_flip"))
ATTENTION = Block(MetaFormer(), Attention(head_dim=8))
HYBRID = Architecture(
    (
        Stage(16, (Block(Gated(), GatedConv(kernel=3)), SCAN)),
        Stage(24, (SCAN, ATTENTION)),
        Stage(32, (ATTENTION, ATTENTION)),
    ),
    head=LinearHead(),
)
ARCHITECTURES = {"mambaout_femto": reference("mambaout_femto"), "hybrid": HYBRID}
IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))

every = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)


def network(architecture: Architecture, **kwargs: Any) -> Any:
    """A network in evaluation; Any, since timm's methods are not in torch's types."""
    torch.manual_seed(0)
    return build(architecture, **{"num_classes": 10, **kwargs}).eval()


@every
@pytest.mark.parametrize("size", [(1, 1), (32, 32), (33, 47), (130, 65)])
def test_any_size_goes(architecture: Architecture, size: tuple[int, int]) -> None:
    net = network(architecture)
    maps = net.forward_intermediates(IMAGES.new_ones(1, 3, *size), intermediates_only=True)
    for info, y in zip(net.feature_info, maps, strict=True):
        assert y.shape[2:] == tuple(-(-side // info["reduction"]) for side in size)
    assert net(IMAGES.new_ones(1, 3, *size)).isfinite().all()


@every
@pytest.mark.parametrize("indices", [None, (0, 2), (1,)])
def test_features_only(architecture: Architecture, indices: tuple[int, ...] | None) -> None:
    given = {} if indices is None else {"out_indices": indices}
    wanted = indices or tuple(range(len(architecture.stages)))
    full, net = network(architecture), network(architecture, features_only=True, **given)
    strides = [4 * 2**i for i in wanted]
    assert net.feature_info.channels() == [architecture.stages[i].width for i in wanted]
    assert net.feature_info.reduction() == strides
    assert net.feature_info.module_name() == [f"stages.{i}" for i in wanted]
    maps = net(IMAGES)
    for y, channels, stride in zip(maps, net.feature_info.channels(), strides, strict=True):
        assert y.shape == (2, channels, 64 // stride, 96 // stride)
    x = full.stem(IMAGES)  # by hand, with the same weights
    for i, stage in enumerate(full.stages):
        x = stage(x)
        if i in wanted:
            assert torch.equal(maps[wanted.index(i)], x.permute(0, 3, 1, 2))


def test_stopping_early_runs_no_later_stage() -> None:
    net = network(HYBRID)
    net.stages[2] = nn.Identity()
    net.stages[2].register_forward_hook(lambda *_: pytest.fail("ran the last stage"))
    net.forward_intermediates(IMAGES, indices=[1], stop_early=True)


@every
def test_prune_intermediate_layers(architecture: Architecture) -> None:
    net = network(architecture)
    maps = net.forward_intermediates(IMAGES, intermediates_only=True)
    assert net.prune_intermediate_layers([0, 1]) == [0, 1]
    assert len(net.stages) == 2
    assert net.num_features == net.head_hidden_size == architecture.stages[1].width
    assert not any("head" in name for name, _ in net.named_parameters())
    pruned = net.forward_intermediates(IMAGES, intermediates_only=True, indices=[0, 1])
    assert all(torch.equal(y, z) for y, z in zip(pruned, maps, strict=False))
    assert torch.equal(net(IMAGES), maps[1].permute(0, 2, 3, 1))  # the map, unpooled
    net.reset_classifier(5, "avg")
    assert net(IMAGES).shape == (2, 5)

    whole = network(architecture)
    logits = whole(IMAGES)
    last = len(architecture.stages) - 1
    assert whole.prune_intermediate_layers([last], prune_head=False) == [last]
    assert torch.equal(whole(IMAGES), logits)
    # A head that was sized for a stage that goes must go with it.
    whole.prune_intermediate_layers([0], prune_head=False)
    assert whole(IMAGES).shape == (2, 16, 24, architecture.stages[0].width)


@every
def test_checkpointing_gives_the_same_gradients(architecture: Architecture) -> None:
    plain, saving = network(architecture).train(), network(architecture).train()
    saving.set_grad_checkpointing()
    runs = {"plain": 0, "saving": 0}

    def gradients(name: str, net: Any) -> tuple[Tensor, dict[str, Tensor]]:
        def ran(*_: object) -> None:
            runs[name] += 1

        net.stages[1].blocks[0].register_forward_pre_hook(ran)
        loss = net(IMAGES).square().sum()
        loss.backward()
        return loss, {n: p.grad for n, p in net.named_parameters()}

    want, got = gradients("plain", plain), gradients("saving", saving)
    torch.testing.assert_close(got, want)
    assert runs == {"plain": 1, "saving": 2}  # the second time in the backward pass
    saving.set_grad_checkpointing(False)
    saving(IMAGES)
    assert runs["saving"] == 3


def test_no_weight_decay_names_positions_and_class_tokens() -> None:
    """As timm's DeiT does."""
    net = network(reference("deit_tiny"))
    assert net.no_weight_decay() == {"stem.pos_embed", "stem.cls_token"}


def test_no_weight_decay_names_the_parameters_of_scans() -> None:
    assert network(reference("mambaout_femto")).no_weight_decay() == set()
    net = network(HYBRID)
    scans = [f"stages.{i}.blocks.{j}.mixer.scan" for i, j in ((0, 1), (1, 0))]
    names = {f"{scan}.{name}" for scan in scans for name in ("A_log", "D", "dt_bias")}
    assert net.no_weight_decay() == names
    parameters = dict(net.named_parameters())
    assert names <= parameters.keys()
    free, decayed = param_groups_weight_decay(net, 0.05, no_weight_decay_list=net.no_weight_decay())
    assert (free["weight_decay"], decayed["weight_decay"]) == (0, 0.05)
    decaying = {id(p) for p in decayed["params"]}
    assert not decaying & {id(parameters[name]) for name in names}
    assert id(parameters[f"{scans[0]}.dt_proj"]) in decaying
    assert id(parameters[f"{scans[0]}.x_proj"]) in decaying


@every
def test_group_matcher_orders_all_parameters(architecture: Architecture) -> None:
    net = network(architecture)
    group = group_parameters(net, net.group_matcher(), reverse=True)
    assert group.keys() == {name for name, _ in net.named_parameters()}
    depths = [stage.depth for stage in architecture.stages]
    assert set(group.values()) == set(range(sum(depths) + 2))  # stem, blocks, head
    assert group["stem.conv1.weight"] == 0
    assert group["stages.0.blocks.0.proj_in.weight"] == 1
    first = group["stages.1.blocks.0.norm.weight"]
    assert first == group["stages.1.downsample.conv.weight"] == depths[0] + 1
    assert group["head.fc.weight"] == sum(depths) + 1
    coarse = group_parameters(net, net.group_matcher(coarse=True), reverse=True)
    assert coarse.keys() == group.keys()
    assert coarse["stages.1.blocks.1.norm.weight"] == 2
    assert coarse["head.fc.weight"] == len(depths) + 1
