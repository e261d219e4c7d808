"""Closed-form costs against fvcore's count of the built networks, and against published ones."""

from __future__ import annotations

import dataclasses
import math
import random
import time
import warnings
from collections import Counter
from typing import Any

import pytest
import torch
from contract_helpers import brief, distinct, shallow
from torch import Tensor, nn

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.cost import cost
from hybridnas.counting import Count
from hybridnas.errors import ConfigError
from hybridnas.layers.blocks import Gated, MetaFormer
from hybridnas.layers.heads import LinearHead
from hybridnas.mixers.attention import Attention
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.mixers.ssm import SSM
from hybridnas.reference import REFERENCES, reference
from hybridnas.resources import shipped
from hybridnas.space import SearchSpace
from hybridnas.timm_entry import build
from hybridnas_kernels import selective_scan

with warnings.catch_warnings():
    # fvcore compiles functions that nobody calls here with the deprecated torch.jit.script.
    warnings.simplefilter("ignore", FutureWarning)
    from fvcore.nn import FlopCountAnalysis
    from fvcore.nn.jit_handles import get_shape

CONV = Block(Gated(), GatedConv())
SCAN = Block(Gated(expansion=2), SSM(d_state=4, directions="h v"))
ATTENTION = Block(MetaFormer(), Attention(head_dim=8))
HYBRID = Architecture((Stage(16, (CONV, SCAN)), Stage(24, (ATTENTION,) * 3)))
# 75 x 110 has an odd side at almost every stride, and rounds up there.
SIZES = [(64, 96), (75, 110)]


class Scans:
    """Stands in for the selective scan: costs fvcore nothing, and adds up what it should, by
    the part of the network that is running."""

    def __init__(self) -> None:
        self.part = ""
        self.macs: Counter[str] = Counter()

    def __call__(self, u: Tensor, delta: Tensor, A: Tensor, *_: object, **__: object) -> Tensor:
        (batch, channels, L), N = u.shape, A.shape[1]  # channels: E of every direction
        self.macs[self.part] += batch * (9 * L * channels * N + L * channels)  # batch: windows
        return u + delta

    def enter(self, part: str) -> None:
        self.part = part


def unfused_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What scaled_dot_product_attention computes, in products that fvcore can see."""
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1) @ v


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> Scans:
    """Makes built networks countable by fvcore."""
    stand_in = Scans()
    monkeypatch.setattr("hybridnas.mixers.modules.scan.selective_scan", stand_in)
    monkeypatch.setattr(
        "hybridnas.mixers.modules.attention.scaled_dot_product_attention", unfused_attention
    )
    return stand_in


def counted(net: nn.Module, size: tuple[int, int], scans: Scans) -> dict[str, Count]:
    """Parameters and MACs of the stem, of each stage, of the head, and of the network ("")."""
    stages = net.get_submodule("stages").named_children()
    parts = {f"stages.{name}": stage for name, stage in stages}
    hooks = [
        stage.register_forward_pre_hook(lambda *_, name=name: scans.enter(name))
        for name, stage in parts.items()
    ]
    scans.macs.clear()
    analysis = FlopCountAnalysis(net.eval(), torch.zeros(1, 3, *size))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.set_op_handle("aten::rms_norm", _rms_norm)  # fvcore has no rule for it
    analysis.set_op_handle("aten::matmul", _matmul)
    seen = analysis.by_module()
    for hook in hooks:
        hook.remove()
    parts |= {"stem": net.get_submodule("stem"), "head": net.get_submodule("head")}
    found = {name: Count(_params(m), seen[name] + scans.macs[name]) for name, m in parts.items()}
    if net.isotropic:  # the network is cut at every block, the architecture has one stage
        blocks = [found.pop(name) for name in [*found] if name.startswith("stages.")]
        found["stages.0"] = sum(blocks, Count())
    return {**found, "": Count(_params(net), seen[""] + scans.macs.total())}


def _matmul(inputs: list[Any], outputs: list[Any]) -> int:
    """fvcore's own rule leaves out a batch that the first factor is broadcast along."""
    return math.prod(get_shape(outputs[0])) * get_shape(inputs[0])[-1]


def _rms_norm(inputs: list[Any], outputs: list[Any]) -> int:
    return 5 * math.prod(get_shape(inputs[0]))


def _params(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def said(architecture: Architecture, size: tuple[int, int], classes: int) -> dict[str, Count]:
    """What the closed form says, by the same names."""
    c = cost(architecture, size, num_classes=classes)
    stages = {f"stages.{s.stage - 1}": Count(s.params, s.macs) for s in c.stages}
    return {"stem": c.stem, **stages, "head": c.head, "": Count(c.params, c.macs)}


SHALLOW = {name: brief(shallow(known.architecture)) for name, known in REFERENCES.items()}


@pytest.mark.parametrize("name", distinct(SHALLOW))  # random architectures below vary widths
def test_references_cost_what_fvcore_counts(name: str, scans: Scans) -> None:
    architecture = SHALLOW[name]
    net = build(architecture, num_classes=10)
    for size in SIZES:
        assert said(architecture, size, 10) == counted(net, size, scans)


@pytest.mark.parametrize("window", [2, 3, 5])
def test_windows_cost_what_fvcore_counts(window: int, scans: Scans) -> None:
    """Several windows, and padding: 16 x 24 tokens in the first stage, 8 x 12 in the second."""
    stages = (Stage(16, (CONV, SCAN), window), Stage(24, (ATTENTION, SCAN), window))
    architecture = Architecture(stages)
    net = build(architecture, num_classes=10)
    for size in SIZES:
        assert said(architecture, size, 10) == counted(net, size, scans)
    assert cost(architecture, 64).stages[0].tokens == window * window


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("space", [*shipped("search_spaces")])
def test_random_architectures_cost_what_fvcore_counts(space: str, seed: int, scans: Scans) -> None:
    architecture = brief(shallow(SearchSpace.load(space).sample(random.Random(seed))))
    net = build(architecture, num_classes=10)
    for size in SIZES:
        assert said(architecture, size, 10) == counted(net, size, scans)


@pytest.mark.parametrize("seed", range(4))
def test_whole_architectures_cost_what_fvcore_counts(seed: int, scans: Scans) -> None:
    """Depth included: equal blocks are counted once and multiplied."""
    architecture = SearchSpace.load("hybrid_small").sample(random.Random(seed))
    net = build(architecture, num_classes=7)
    assert said(architecture, (33, 31), 7) == counted(net, (33, 31), scans)


def test_fvcore_sees_no_scan_and_no_fused_attention() -> None:
    """Why stock counters favour the SSM: hybridnas adds by formula what they leave out."""
    torch.manual_seed(0)

    class Both(nn.Module):
        def forward(self, u: Tensor, A: Tensor, B: Tensor) -> Tensor:
            y = selective_scan(u, u, A, B, B)
            return nn.functional.scaled_dot_product_attention(y, y, y)

    inputs = torch.randn(1, 4, 9), -torch.rand(4, 2), torch.randn(1, 2, 9)
    analysis = FlopCountAnalysis(Both(), inputs).unsupported_ops_warnings(False)
    assert analysis.total() == 0


def test_unfused_attention_is_attention() -> None:
    q, k, v = torch.randn(3, 1, 2, 5, 4, dtype=torch.double)
    fused = nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(unfused_attention(q, k, v), fused, atol=1e-12, rtol=1e-12)


def test_a_scan_costs_nine_products_a_state_and_one_skip_for_each_direction() -> None:
    def macs(directions: str, d_state: int) -> int:
        return SSM(d_state=d_state, directions=directions).count(64, 32, (10, 10)).macs

    project = 64 * (2 + 2 * 16) + 2 * 64  # token to (dt, B, C); rank 32 / 16 = 2 to the channels
    one = 100 * (project + 9 * 64 * 16 + 64)
    assert macs("h v", 16) - macs("h", 16) == one
    assert macs("h v h_flip v_flip", 16) - macs("h", 16) == 3 * one


def test_attention_is_counted_in_full() -> None:
    projections = 100 * 64 * 3 * 64
    for head_dim in (8, 64):
        assert Attention(head_dim).count(64, 64, (10, 10)).macs == projections + 2 * 100**2 * 64


def test_stages_are_told_apart() -> None:
    c = cost(HYBRID, (64, 96), num_classes=0)
    first, second = c.stages
    assert (first.stage, first.depth, first.width, first.tokens) == (1, 2, 16, 16 * 24)
    assert (second.stage, second.depth, second.width, second.tokens) == (2, 3, 24, 8 * 12)
    assert first.mixers == ("gated_conv", "ssm")
    assert second.mixers == ("attention",)
    assert first.long_sequence_ratio == 16 * 24 / (6 * 16)
    assert second.long_sequence_ratio == 8 * 12 / (6 * 24)


def test_long_sequences_by_the_papers_criterion() -> None:
    """MambaOut, section 3: ImageNet's 14 x 14 tokens are short, COCO's 800 x 1280 px long."""
    base = reference("mambaout_base")
    assert cost(base, 224).stages[2].tokens == 196
    assert cost(base, 224).stages[2].long_sequence_ratio < 1
    assert cost(base, (800, 1280)).stages[2].long_sequence_ratio > 1


def test_an_int_is_a_square_and_parts_add_up() -> None:
    c = cost(HYBRID, 65)
    assert c == cost(HYBRID, (65, 65)) == cost(HYBRID, 65, task="classification")
    assert c.input_size == (65, 65)
    parts = [c.stem, c.head, *(Count(s.params, s.macs) for s in c.stages)]
    assert sum(parts, Count()) == Count(c.params, c.macs)
    assert cost(HYBRID, (96, 64)) != cost(HYBRID, (64, 96)) != c


def test_head_and_channels_count() -> None:
    plain = cost(HYBRID, 64, num_classes=10)
    assert cost(HYBRID, 64, num_classes=11).params - plain.params == 4 * 24 + 1
    assert cost(HYBRID, 64, num_classes=11).macs - plain.macs == 4 * 24
    assert cost(HYBRID, 64, num_classes=0).params == _params(build(HYBRID, num_classes=0))
    linear = dataclasses.replace(HYBRID, head=LinearHead())
    assert cost(linear, 64, num_classes=0).head == Count(2 * 24, 5 * 24)
    grey = cost(HYBRID, 64, in_chans=1, num_classes=10)
    assert plain.params - grey.params == 2 * 9 * 8
    assert plain.macs - grey.macs == 2 * 9 * 8 * 32 * 32


@pytest.mark.parametrize("size", [0, -1, (224,), (224, 0), (224, 224, 3), (224.0, 224.0), "22"])
def test_an_image_that_is_none_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"input size must be positive pixels \(H, W\), got"):
        cost(HYBRID, size)


def test_a_dense_task_needs_a_pyramid() -> None:
    for task in ("segmentation", "detection"):
        with pytest.raises(ConfigError, match=f"{task} needs a pyramid of maps"):
            cost(reference("vim_tiny"), task=task)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown task 'depth'; allowed: classification, seg"):
        cost(HYBRID, task="depth")


@pytest.mark.slow
def test_thousands_of_architectures_a_second() -> None:
    """Guards the order of magnitude on any machine; scripts/bench_cost.py measures the rate."""
    space, rng = SearchSpace.load("hybrid"), random.Random(0)
    drawn = {a.digest: a for a in (space.sample(rng) for _ in range(2000))}
    assert len(drawn) == 2000
    best = math.inf
    for _ in range(3):  # the best of three: a shared core slows some of them
        fresh = [Architecture.from_dict(a.to_dict()) for a in drawn.values()]  # nothing shared
        start = time.process_time()
        assert sum(cost(architecture).macs for architecture in fresh) > 0
        best = min(best, time.process_time() - start)
    assert best < 1.2
