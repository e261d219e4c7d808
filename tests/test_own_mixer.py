"""Somebody's own mixer: a file on the path, named `module:Class` in an architecture or a space."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from hybridnas.architecture import Architecture
from hybridnas.cost import cost
from hybridnas.errors import ArchitectureError, SpaceError
from hybridnas.space import Genome, SearchSpace
from hybridnas.timm_entry import build

# The example of README.md: my_mixers.py and the space that uses it.
MY_MIXERS = """\
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from hybridnas.counting import Count, Size
from hybridnas.mixers import Mixer


class AveragePool(nn.AvgPool2d):
    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Pooling(Mixer):
    letter: ClassVar[str] = "P"  # in short forms such as G3-P3-S9-A3
    size: int = 3  # the fields are the options that a search may vary

    def build(self, channels: int, width: int) -> nn.Module:
        return AveragePool(self.size, stride=1, padding=self.size // 2, count_include_pad=False)

    def count(self, channels: int, width: int, size: Size) -> Count:
        return Count(params=0, macs=0)
"""
MY_SPACE = """\
name: pooling
input_size: 32
head: linear
stages:
  - {depth: [1, 2], width: [16, 24], mixer: [pooling, gated_conv]}
  - {depth: [2, 3], width: [32, 48], mixer: [pooling, ssm], second_half: [same, pooling]}
blocks:
  pooling: {form: metaformer, expansion: null, mixer: "my_mixers:Pooling"}
  gated_conv: {form: gated}
  ssm: {form: gated, d_state: 4}
options:
  size: {values: [3, 5]}
  mlp_ratio: {values: [2, 4], per: network}
"""
POOLING = {"form": "metaformer", "mixer": {"name": "my_mixers:Pooling", "size": 5}}
BLOCKS = [{**POOLING, "repeat": 2}]


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The space's file, with the mixer importable beside it."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_mixers.py").write_text(MY_MIXERS)
    (tmp_path / "space.yaml").write_text(MY_SPACE)
    return tmp_path / "space.yaml"


def test_it_round_trips_by_its_import_path(space: Path) -> None:
    raw = {"stages": [{"width": 16, "blocks": BLOCKS}]}
    architecture = Architecture.from_dict(raw)
    assert architecture.short == "P2"
    assert architecture.describe() == ["width 16: 2 x my_mixers:Pooling (metaformer, size 5)"]
    assert architecture.to_dict()["stages"][0]["blocks"] == BLOCKS
    assert Architecture.from_json(architecture.to_json()) == architecture


def test_it_is_searched_like_any_other(space: Path) -> None:
    loaded = SearchSpace.load(space)
    assert loaded.genes["stage1.size"] == (3, 5)
    shorts = {loaded.sample(random.Random(seed)).short for seed in range(50)}
    assert {"P1-P2", "G1-S1P1", "G2-S2P1"} <= shorts


def test_it_is_built_trained_and_counted(space: Path) -> None:
    loaded = SearchSpace.load(space)
    genome: Genome = {"stage1.size": 5, "stage2.mixer": "ssm", "stage2.second_half": "pooling"}
    architecture = loaded.decode(genome)
    assert architecture.short == "P1-S1P1"
    torch.manual_seed(0)
    net = build(architecture, num_classes=10)
    assert cost(architecture, 32, num_classes=10).params == sum(p.numel() for p in net.parameters())

    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]


def test_an_option_without_a_value_is_an_impossible_space(space: Path) -> None:
    file = space.parent / "my_mixers.py"
    file.with_name("no_default.py").write_text(MY_MIXERS.replace("size: int = 3", "size: int"))
    raw = MY_SPACE.replace("my_mixers", "no_default").replace("  size: {values: [3, 5]}\n", "")
    space.write_text(raw)
    message = r"stage 1, pooling with width 16, mlp_ratio 2.0: .*missing 1 required .*'size'"
    with pytest.raises(SpaceError, match=message):
        SearchSpace.load(space)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "no_such_module:Mixer",
            r"mixer 'no_such_module:Mixer' cannot be imported \(ModuleNotFoundError: No module",
        ),
        ("subprocess:Popen", r"'subprocess:Popen' is no subclass of hybridnas.mixers.Mixer"),
        ("hybridnas.mixers:MIXERS", r"'hybridnas.mixers:MIXERS' is no subclass of"),
        ("hybridnas.mixers:Missing", r"'hybridnas.mixers:Missing' is no subclass of"),
        ("hybridnas.mixers:Mixer", r"Can't instantiate abstract class Mixer"),
        (":Mixer", r"mixer ':Mixer' must be module:Class, module in full"),
        ("..mixers:Mixer", r"mixer '..mixers:Mixer' must be module:Class, module in full"),
    ],
)
def test_an_import_path_to_no_mixer_is_refused(name: str, message: str) -> None:
    block = {"form": "gated", "mixer": name}
    with pytest.raises(ArchitectureError, match=message):
        Architecture.from_dict({"stages": [{"width": 16, "blocks": [block]}]})


def test_a_space_refuses_it_too(space: Path) -> None:
    space.write_text(MY_SPACE.replace("my_mixers:Pooling", "subprocess:Popen"))
    message = r"space\.yaml: blocks\.pooling: 'subprocess:Popen' is no subclass of hybridnas"
    with pytest.raises(SpaceError, match=message):
        SearchSpace.load(space)
