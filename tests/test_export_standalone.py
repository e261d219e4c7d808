"""Stand-alone exports, in an environment that has PyTorch and timm and nothing else."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from contract_helpers import shallow
from packaging.requirements import Requirement
from test_export_card import HYBRID
from test_own_mixer import MY_MIXERS

from hybridnas.architecture import Architecture
from hybridnas.errors import ExportError
from hybridnas.export import Extras, export_model
from hybridnas.reference import reference

ALONE = """
import importlib, sys
import torch, timm
for name in sys.argv[1:]:  # the second of them and all after it bring the same operators again
    alone = importlib.import_module(f"{name}_model")
    model = alone.create_model().eval()
    torch.save(model(torch.load("images.pt")), f"{name}.pt")
    features = timm.create_model(f"{name}_model", pretrained=True, features_only=True)
    print([y.shape[1] for y in features(torch.zeros(1, 3, 64, 64))], model.num_classes)
known = {"hybridnas", "hybridnas_kernels", "triton", "pydantic", "optuna", "ray", "sqlalchemy"}
print(sorted(known & sys.modules.keys()))
"""


def needed(name: str, found: dict[str, importlib.metadata.Distribution]) -> None:
    """Collects a distribution and what it requires here, Triton left out."""
    if name in found or name == "triton":
        return
    try:
        found[name] = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return
    for line in found[name].requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed(requirement.name, found)


@pytest.fixture(scope="module")
def torch_and_timm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with links to those of PyTorch and timm alone."""
    folder = tmp_path_factory.mktemp("packages")
    found: dict[str, importlib.metadata.Distribution] = {}
    for name in ("torch", "torchvision", "timm"):
        needed(name, found)
    for distribution in found.values():
        for file in distribution.files or ():
            top = file.parts[0]
            link, target = folder / top, Path(str(distribution.locate_file(top)))
            if top != ".." and not link.exists() and target.exists():
                link.symlink_to(target)
    return folder


@pytest.mark.slow
def test_they_need_torch_and_timm_alone(torch_and_timm: Path, tmp_path: Path) -> None:
    """In one process, which takes most of its time to start."""
    names = ("localvmamba_tiny", "vim_tiny", "mambavision_tiny")
    architectures = {"hybrid": HYBRID, **{name: shallow(reference(name)) for name in names}}
    extras = Extras(standalone=True)
    for name, architecture in architectures.items():
        out = tmp_path / f"{name}_model"
        export_model(architecture, out, None, None, num_classes=5, input_size=64, extras=extras)
        assert not list(out.rglob("triton_*"))
    images = torch.rand(3, 3, 64, 64)
    torch.save(images, tmp_path / "images.pt")
    done = subprocess.run(  # -S: no site-packages, so that the folder is all there is
        [sys.executable, "-S", "-c", ALONE, *architectures],
        cwd=tmp_path,
        env={
            "PYTHONPATH": f"{tmp_path}:{torch_and_timm}",
            "PATH": "/usr/bin:/bin",
            "OMP_NUM_THREADS": "1",
            "HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    widths = [[stage.width for stage in a.stages] for a in architectures.values()]
    told = [each * 2 if len(each) == 1 else each for each in widths]  # a ViT's blocks
    assert done.stdout.splitlines() == [*(f"{each} 5" for each in told), "[]"], done.stderr
    for name in architectures:
        model = timm.create_model(f"local-dir:{tmp_path / name}_model", pretrained=True).eval()
        with torch.no_grad():
            want = model(images)
        torch.testing.assert_close(torch.load(tmp_path / f"{name}.pt"), want, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my-model", "its folder's name must be an identifier, got 'my-model'"),
        ("class", "must be an identifier, got 'class'"),
        ("resnet18", "'resnet18' is the name of a model of timm or of an installed module"),
        ("torch", "'torch' is the name of a model of timm or of an installed module"),
        ("json", "'json' is the name of a model of timm or of an installed module"),
    ],
)
def test_a_name_that_cannot_be_imported_is_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        export_model(HYBRID, tmp_path / name, None, None, extras=Extras(standalone=True))
    assert list(tmp_path.iterdir()) == []


def test_somebodys_own_mixer_cannot_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_mixers.py").write_text(MY_MIXERS)
    block = {"form": "metaformer", "mixer": "my_mixers:Pooling"}
    own = Architecture.from_dict({"stages": [{"width": 16, "blocks": [block]}]})
    with pytest.raises(ExportError, match="its mixers from my_mixers cannot travel"):
        export_model(own, tmp_path / "model", None, None, extras=Extras(standalone=True))
    assert not (tmp_path / "model").exists()
