"""What an export's card says works, word for word: its code is run, with a training step each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from contract_helpers import shallow
from torch import nn
from torch.nn import functional as F

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.export import Extras, export_model
from hybridnas.layers.blocks import Gated, MetaFormer
from hybridnas.layers.heads import LinearHead
from hybridnas.layers.stems import Patch
from hybridnas.mixers.attention import Attention
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.mixers.ssm import SSM
from hybridnas.reference import reference

CONV = Block(Gated(), GatedConv(kernel=3))
SCAN = Block(Gated(), SSM(d_state=2, directions="h v_flip w2"))
ATTENTION = Block(MetaFormer(expansion=None), Attention(head_dim=8))
HYBRID = Architecture(
    (Stage(16, (CONV, SCAN)), Stage(24, (SCAN,)), Stage(32, (ATTENTION,)), Stage(40, (ATTENTION,)))
)
THREE = Architecture(HYBRID.stages[:3], head=LinearHead())
MIXED = Architecture(HYBRID.stages[::2])  # every mixer once, for what takes seconds a block


def code_of(folder: Path, number: int) -> str:
    """One of the card's examples, with the folder's place filled in."""
    card = (folder / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", card, re.S)
    return str(blocks[number]).replace("PATH_OF_THIS_FOLDER", str(folder))


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(code, names)
    return names


@pytest.fixture(
    scope="module", params=[(HYBRID, False), (THREE, False), (HYBRID, True)], ids=["4", "3", "own"]
)
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """An export, in place; the third is a package of its own, on Python's path."""
    architecture, standalone = request.param
    out = tmp_path_factory.mktemp("exports") / f"card_model_{int(standalone)}"
    extras = Extras(standalone=standalone)
    export_model(architecture, out, None, None, num_classes=5, input_size=64, extras=extras)
    with pytest.MonkeyPatch.context() as patch:
        if standalone:
            patch.syspath_prepend(out.parent)
        yield out


def trains(net: nn.Module, loss: torch.Tensor) -> None:
    """One step changes the loss's parameters, the backbone's first convolution among them."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loss.backward()
    first = next(p for n, p in net.named_parameters() if n.endswith("stem.conv1.weight"))
    before = first.detach().clone()
    assert first.grad is not None
    optimizer.step()
    assert not torch.equal(first, before)


def test_timm(folder: Path) -> None:
    names = run(code_of(folder, 0))
    model, features = names["model"], names["features"]
    images = torch.rand(2, 3, 64, 64)
    assert model(images).shape == (2, 5)
    assert [y.shape[1] for y in features(images)] == [16, 24, 32, 40][: len(features(images))]
    assert names["transform"] is not None
    trains(model, F.cross_entropy(model(images), torch.tensor([1, 4])))


def test_segmentation_models_pytorch(folder: Path) -> None:
    segmenter = run(code_of(folder, 1))["segmenter"]
    images = torch.rand(2, 3, 64, 96)
    logits = segmenter(images)
    assert logits.shape == (2, 150, 64, 96)
    trains(segmenter, F.cross_entropy(logits, torch.randint(0, 150, (2, 64, 96))))


def test_torchvision_detection(folder: Path) -> None:
    detector = run(code_of(folder, 2))["detector"]
    masks = torch.zeros(1, 96, 96, dtype=torch.uint8)
    masks[:, 10:60, 20:70] = 1
    target = {
        "boxes": torch.tensor([[20.0, 10.0, 70.0, 60.0]]),
        "labels": torch.tensor([3]),
        "masks": masks,
    }
    detector.transform.min_size, detector.transform.max_size = (96,), 96
    losses = detector([torch.rand(3, 96, 96)], [target])
    assert losses.keys() >= {"loss_classifier", "loss_mask", "loss_rpn_box_reg"}
    trains(detector, sum(losses.values()))
    with torch.no_grad():
        (found,) = detector.eval()([torch.rand(3, 80, 96)])
    assert found.keys() == {"boxes", "labels", "scores", "masks"}


@pytest.mark.parametrize(
    ("stem", "number", "offers"),
    [
        (Patch(), 2, {"smp.UPerNet", "MaskRCNN"}),
        (Patch(), 5, {"MaskRCNN"}),
        (Patch(kernel=2, step=2), 4, {"MaskRCNN"}),
        (Patch(kernel=3, step=3), 3, set()),
    ],
)
def test_a_card_offers_what_works(
    stem: Patch, number: int, offers: set[str], tmp_path: Path
) -> None:
    architecture = Architecture((Stage(8, (CONV,)),) * number, stem=stem, head=LinearHead())
    export_model(architecture, tmp_path / "m", None, None, num_classes=5, input_size=64)
    card = (tmp_path / "m" / "README.md").read_text()
    assert {words for words in ("smp.UPerNet", "MaskRCNN") if words in card} == offers


def test_an_isotropic_model_offers_no_pyramid(tmp_path: Path) -> None:
    out = tmp_path / "vim"
    export_model(shallow(reference("vim_tiny")), out, None, None, num_classes=5, input_size=64)
    card = (out / "README.md").read_text()
    assert "![S2](architecture.svg)" in card
    assert "MaskRCNN" not in card
    assert "smp" not in card


def test_where_hybridnas_is_installed_its_kernels_run(folder: Path) -> None:
    if not (folder / "runtime").is_dir():
        pytest.skip("not a package of its own")
    import importlib

    import hybridnas_kernels

    kernels = importlib.import_module(f"{folder.name}.runtime.kernels")
    assert kernels.selective_scan is hybridnas_kernels.selective_scan
