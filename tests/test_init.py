"""Where trainings start: weights of a file, in every task's model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.errors import ConfigError, DataError
from hybridnas.heads import UPerNet, mask_rcnn
from hybridnas.layers.blocks import Gated
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.network import HybridNet
from hybridnas.timm_entry import build
from hybridnas.train import file_digest, load_backbone, network_of, start_from

CONV = Block(Gated(), GatedConv())
NET = Architecture(tuple(Stage(width, (CONV,)) for width in (16, 24, 32, 48)))
DENSE: dict[str, Callable[[], nn.Module]] = {
    "segmentation": lambda: UPerNet(HybridNet(NET, num_classes=0), 3, width=16, aux_width=8),
    "detection": lambda: mask_rcnn(build(NET, num_classes=0, features_only=True), 2, width=16),
}


@pytest.fixture
def classifier(tmp_path: Path) -> tuple[HybridNet, Path]:
    """A classifier of seven classes, and the file of its weights."""
    torch.manual_seed(0)
    model = HybridNet(NET, num_classes=7).eval()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    return model, tmp_path / "weights.safetensors"


def maps(network: HybridNet) -> list[Tensor]:
    image = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    with torch.no_grad():
        found = network.eval().forward_intermediates(image, intermediates_only=True)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("task", DENSE)
def test_a_dense_model_starts_from_a_classifier(
    task: str, classifier: tuple[HybridNet, Path]
) -> None:
    model = DENSE[task]()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start_from(model, classifier[1])
    for mine, theirs in zip(maps(network_of(model)), maps(classifier[0]), strict=True):
        assert torch.equal(mine, theirs)
    heads = [name for name in before if not name.startswith("backbone.") or ".fpn." in name]
    assert heads
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in heads)


def test_a_classifier_starts_from_one_of_the_same_classes_and_of_others(
    classifier: tuple[HybridNet, Path],
) -> None:
    same, other = HybridNet(NET, num_classes=7), HybridNet(NET, num_classes=5)
    fresh = other.state_dict()["head.fc.weight"].clone()
    for model in (same, other):
        start_from(model, classifier[1])
    want = classifier[0].state_dict()
    assert all(torch.equal(value, want[name]) for name, value in same.state_dict().items())
    assert torch.equal(other.state_dict()["head.fc.weight"], fresh)
    rest = {n: v for n, v in other.state_dict().items() if not n.startswith("head.fc.")}
    assert all(torch.equal(value, want[name]) for name, value in rest.items())


@pytest.mark.parametrize("task", DENSE)
def test_other_architectures_are_refused_and_nothing_is_changed(task: str, tmp_path: Path) -> None:
    model = DENSE[task]()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wider = Architecture((Stage(8, (CONV,)), *NET.stages[1:]))
    save_file(HybridNet(wider).state_dict(), tmp_path / "wider.safetensors")
    words = r"wider.safetensors are of another architecture than G1-G1-G1-G1: \d+ of \d+ do not fit"
    with pytest.raises(ConfigError, match=words):
        start_from(model, tmp_path / "wider.safetensors")
    shorter = HybridNet(Architecture(NET.stages[:3])).state_dict()
    with pytest.raises(ConfigError, match=r"^the weights are of .* among them stages\.3"):
        load_backbone(model, shorter)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_files_without_weights_are_refused(tmp_path: Path) -> None:
    model = DENSE["segmentation"]()
    with pytest.raises(DataError, match=r"none\.pth cannot be read"):
        start_from(model, tmp_path / "none.pth")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(DataError, match="holds no weights that can be read"):
        start_from(model, tmp_path / "text.safetensors")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(DataError, match="must hold weights by name"):
        start_from(model, tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"none\.pth cannot be read"):
        file_digest(tmp_path / "none.pth")
