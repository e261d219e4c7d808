"""What is refused before it is trained, and what is not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from hybridnas import build, reference
from hybridnas.architecture import Architecture
from hybridnas.config import Recipe
from hybridnas.network import HybridNet
from hybridnas.tasks.classification import classification_loss
from hybridnas.train import Broken, check_start

CPU = torch.device("cpu")
LOSS = classification_loss(Recipe(label_smoothing=0.0))
RAW = {
    "stages": [
        {"width": 8, "blocks": [{"form": "gated", "mixer": "gated_conv"}]},
        {
            "width": 32,
            "blocks": [
                {"form": "gated", "mixer": "ssm"},
                {"form": "metaformer", "mixer": "attention"},
            ],
        },
    ]
}


def network() -> HybridNet:
    torch.manual_seed(0)
    model = build(Architecture.from_dict(RAW), num_classes=4)
    assert isinstance(model, HybridNet)
    return model


def look(model: nn.Module, lr: float = 1e-3) -> None:
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(8) % 4
    check_start(model, images, labels, LOSS, Recipe(lr=lr), CPU)


def test_a_good_start_is_let_through_and_left_as_it_was() -> None:
    model = network()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    look(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("name", ["mambaout_femto", "caformer_s18", "vim_tiny", "deit_tiny"])
def test_published_networks_start_well(name: str) -> None:
    raw = reference(name).to_dict()
    for stage in raw["stages"]:
        stage["blocks"] = [{**stage["blocks"][0], "repeat": 1}]
    torch.manual_seed(0)
    look(build(Architecture.from_dict(raw), num_classes=4))


def test_windows_that_are_padded_are_no_fault() -> None:
    """Norms of tokens that are zero have slopes of 1 / sqrt(eps), so gradients are large."""
    raw = reference("mambavision_tiny").to_dict()
    for stage in raw["stages"]:
        stage["blocks"] = [{**stage["blocks"][0], "repeat": 1}]
    torch.manual_seed(0)
    model = build(Architecture.from_dict(raw), num_classes=4)
    images = torch.randn(4, 3, 96, 96)
    check_start(model, images, torch.arange(4), LOSS, Recipe(lr=1e-3), CPU)


def scaled(model: HybridNet, stage: int, factor: float) -> HybridNet:
    """All that stage gives times `factor`."""
    model.stages[stage].register_forward_hook(lambda module, given, output: output * factor)
    return model


@pytest.mark.parametrize(
    ("stage", "factor", "message"),
    [
        (0, 1e9, r"activations after stage 1 explode at initialisation: \d\.\de\+\d\d is above"),
        (1, 1e-9, r"activations after stage 2 vanish at initialisation: \d\.\de-\d\d is below"),
        (1, torch.nan, r"activations after stage 2 are not finite at initialisation"),
    ],
)
def test_activations_are_judged(stage: int, factor: float, message: str) -> None:
    with pytest.raises(Broken, match=message):
        look(scaled(network(), stage, factor))


def test_gradients_that_vanish_are_broken() -> None:
    model = network()
    classifier = model.get_classifier()
    assert isinstance(classifier, nn.Linear)
    with torch.no_grad():
        classifier.weight.zero_()
        classifier.bias.copy_(torch.tensor([1e4, 0, 0, 0]))  # sure, and so without a slope
    images, labels = torch.randn(8, 3, 32, 32), torch.zeros(8, dtype=torch.int64)
    with pytest.raises(Broken, match=r"gradients vanish at initialisation: 0\.0e\+00 is below"):
        check_start(model, images, labels, LOSS, Recipe(), CPU)


def test_a_loss_that_does_not_fall_is_broken() -> None:
    class Deaf(nn.Module):
        """Learns, but answers what it is not asked."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            # A slope that points the wrong way.
            flipped = self.weight.detach() * 2 - self.weight
            return flipped.exp().expand(len(x), 4) * torch.eye(4)[torch.arange(len(x)) % 4]

    with pytest.raises(Broken, match=r"the loss does not fall on 8 images: .* in 6 steps"):
        look(Deaf(), lr=0.1)
