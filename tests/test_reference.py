"""Reference architectures against what was published, and against timm's models of the same name:
parameters, outputs and every stage's features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from contract_helpers import randomised
from torch import Tensor

from hybridnas.checkpoint import checkpoint_filter_fn
from hybridnas.cli.archs import reference_page
from hybridnas.cost import cost
from hybridnas.errors import ArchitectureError
from hybridnas.reference import REFERENCES, reference
from hybridnas.timm_entry import build

ROOT = Path(__file__).parent.parent
IN_TIMM = {
    name: f"{name}_patch16_224" if name.startswith("deit") else name
    for name, known in REFERENCES.items()
    if known.family in ("MambaOut", "ConvFormer", "CAFormer", "ConvNeXt", "DeiT")
}
PYRAMIDS = [name for name, known in REFERENCES.items() if len(known.architecture.stages) > 1]
# G MACs at 224 px by our convention, where papers print another quantity: fvcore on timm's model
# with attention unfused (ConvFormer, CAFormer, DeiT), closed forms with attention and scan.
COUNTED = {
    "convformer_s18": 3.959,
    "convformer_s36": 7.673,
    "convformer_m36": 12.888,
    "convformer_b36": 22.690,
    "caformer_s18": 4.125,
    "caformer_s36": 8.005,
    "caformer_m36": 13.286,
    "caformer_b36": 23.221,
    "vim_tiny": 1.82,
    "vim_small": 5.90,
    "mambavision_tiny": 4.586,
    "mambavision_tiny2": 5.263,
    "mambavision_small": 7.608,
    "mambavision_base": 15.208,
}
# Counted by instantiating the originals.
MILLIONS = {
    "vmamba_v0_tiny": 22.89,
    "vmamba_tiny_s2l5": 30.71,
    "vmamba_tiny_s1l8": 30.25,
    "vmamba_small_s2l15": 50.15,
    "localvmamba_tiny": 25.53,  # these two in closed form
    "localvmamba_small": 49.75,
}


def test_the_names_are_all_there() -> None:
    families: dict[str, int] = {}
    for known in REFERENCES.values():
        families[known.family] = families.get(known.family, 0) + 1
    assert families == {
        "MambaOut": 10,
        "ConvFormer": 4,
        "CAFormer": 4,
        "ConvNeXt": 3,
        "VMamba": 7,
        "LocalVMamba": 2,
        "Vim": 2,
        "MambaVision": 4,
        "DeiT": 3,
    }
    assert len({known.architecture.digest for known in REFERENCES.values()}) == len(REFERENCES)
    with pytest.raises(ArchitectureError, match="unknown reference architecture 'mamba'; known: m"):
        reference("mamba")


@pytest.mark.parametrize("name", REFERENCES)
def test_parameters_are_as_printed(name: str) -> None:
    net = build(reference(name), device="meta")
    params = sum(p.numel() for p in net.parameters())
    assert cost(reference(name)).params == params
    printed = REFERENCES[name].published.params_m
    decimals = len(f"{printed:g}".partition(".")[2])
    assert round(params / 1e6, decimals) == printed
    if name in MILLIONS:
        assert round(params / 1e6, 2) == MILLIONS[name]


@pytest.mark.parametrize("name", REFERENCES)
def test_macs_are_as_counted(name: str) -> None:
    want = COUNTED.get(name, REFERENCES[name].published.macs_g)
    assert cost(reference(name)).macs / 1e9 == pytest.approx(want, abs=0.1)


@pytest.mark.parametrize("name", PYRAMIDS)
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_dense_macs_are_as_printed(name: str, task: str) -> None:
    published = REFERENCES[name].published
    printed = published.det_macs_g if task == "detection" else published.seg_macs_g
    if printed is None:
        pytest.skip("no figure was published")
    if REFERENCES[name].family == "MambaVision":
        pytest.skip("counted with other windows than the classifier's, and without attention")
    assert abs(cost(reference(name), task=task).macs / 1e9 - printed) <= 1.2


@pytest.mark.parametrize("name", IN_TIMM)
def test_it_computes_what_timms_computes(name: str) -> None:
    """With timm's weights under our names, every stage's features too, at a size that is not
    square; where a table of positions lies as it is, at its 224 px, as well."""
    own_args: dict[str, Any] = {"dynamic_img_size": True} if name.startswith("deit") else {}
    theirs: Any = timm.create_model(IN_TIMM[name], device="meta", **own_args)
    theirs = randomised(theirs.to_empty(device="cpu")).eval()
    ours: Any = build(reference(name), num_classes=1000, device="meta").eval()
    state = checkpoint_filter_fn(theirs.state_dict(), ours)
    ours.load_state_dict(state, assign=True)  # all of it is theirs, or stays without values
    count = sum(p.numel() for p in theirs.parameters())
    assert sum(p.numel() for p in ours.parameters()) == count
    generator = torch.Generator().manual_seed(0)
    square, oblong = (torch.rand(1, 3, *s, generator=generator) for s in ((224, 224), (64, 160)))
    with torch.no_grad():
        for image in (square, oblong) if own_args else (oblong,):
            want, got = theirs(image), ours(image)
            assert want.std() > 0.1
            assert relative_error(got, want) < 1e-5
        _, maps = theirs.forward_intermediates(oblong)
        _, own = ours.forward_intermediates(oblong)
    for mine, other in zip(own, maps, strict=True):
        assert relative_error(mine, other) < 1e-5


def relative_error(got: Tensor, want: Tensor) -> float:
    return ((got - want).norm() / want.norm()).item()


def test_the_page_is_what_the_command_prints() -> None:
    """Made anew by `hybridnas archs --markdown > hybridnas/reference/README.md`."""
    assert (ROOT / "hybridnas/reference/README.md").read_text() == reference_page()
