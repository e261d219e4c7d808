"""Exports as ONNX and as torch.export's program, against the model itself."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from contract_helpers import network, shallow
from test_export_card import MIXED
from torch import nn

from hybridnas.architecture import Architecture
from hybridnas.errors import ExportError
from hybridnas.export import Extras, export_model
from hybridnas.reference import reference
from hybridnas.timm_entry import build


def part(name: str, *stages: int, blocks: int = 2) -> Architecture:
    """Some of a reference's stages and blocks: the exporters take a minute for all of them."""
    whole = reference(name)
    ends = (shallow(whole).stages[i] for i in stages)
    some = (dataclasses.replace(stage, blocks=stage.blocks[:blocks]) for stage in ends)
    return dataclasses.replace(whole, stages=tuple(some))


ARCHITECTURES = {
    "hybrid": MIXED,
    "localvmamba_tiny": part("localvmamba_tiny", 0, blocks=1),
    "vim_tiny": part("vim_tiny", 0, blocks=1),
    "mambavision_tiny": part("mambavision_tiny", 0, 2),
    "caformer_s18": part("caformer_s18", 0, 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_onnx_takes_any_batch(name: str, tmp_path: Path) -> None:
    architecture = ARCHITECTURES[name]
    state = network(architecture, num_classes=5).state_dict()
    out = tmp_path / "model"
    export_model(
        architecture, out, state, None, num_classes=5, input_size=32, extras=Extras(onnx=True)
    )
    onnx.checker.check_model(onnx.load(out / "model.onnx"))
    session = onnxruntime.InferenceSession(out / "model.onnx")
    (given,) = session.get_inputs()
    assert (given.name, given.shape[1:]) == ("images", [3, 32, 32])
    assert isinstance(given.shape[0], str), "the batch is free"
    model = build(architecture, num_classes=5).eval()
    model.load_state_dict(state)
    for batch in (1, 2, 7):
        images = torch.randn(batch, 3, 32, 32)
        (got,) = session.run(["logits"], {"images": images.numpy()})
        with torch.no_grad():
            want = model(images)
        torch.testing.assert_close(torch.from_numpy(got), want, atol=1e-4, rtol=1e-4)
    assert "- `model.onnx`: ONNX for any batch of 32 x 32 px" in (out / "README.md").read_text()


def test_a_program_takes_any_batch(tmp_path: Path) -> None:
    out = tmp_path / "model"
    export_model(MIXED, out, None, None, num_classes=5, input_size=64, extras=Extras(program=True))
    program = torch.export.load(out / "model.pt2").module()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(MIXED, num_classes=5).eval()
    images = torch.randn(6, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(program(images), model(images), atol=1e-4, rtol=1e-4)
    assert "- `model.pt2`: `torch.export.load` gives it" in (out / "README.md").read_text()


def test_a_program_that_computes_something_else_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) @ torch.ones(3, 5)

    real = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda _, *args, **kw: real(Other(), *args, **kw))
    message = r"model.onnx computes something else: outputs differ by"
    with pytest.raises(ExportError, match=message):
        export_model(
            MIXED,
            tmp_path / "model",
            None,
            None,
            num_classes=5,
            input_size=32,
            extras=Extras(onnx=True),
        )
    assert list(tmp_path.iterdir()) == []


def test_onnx_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else real(name)
    )
    with pytest.raises(
        ExportError, match=r"--onnx needs onnxruntime, .* pip install 'hybridnas\[o"
    ):
        export_model(MIXED, tmp_path / "model", None, None, extras=Extras(onnx=True))
