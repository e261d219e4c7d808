"""Exported folders: what they hold, and that they score just as the search scored them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from export_helpers import TINY, trained
from safetensors.torch import load_file
from test_own_mixer import BLOCKS, MY_MIXERS

from hybridnas.architecture import Architecture
from hybridnas.cli.resolve import architecture_of
from hybridnas.cost import cost
from hybridnas.export import export_model, score_export
from hybridnas.loading import load_model

pytest_plugins = ["export_helpers"]

ROOT = Path(__file__).parent.parent

# In another process, with nothing of ours but the registration and the images.
COUNT_AGAIN = """
import sys
import hybridnas, timm, torch
from hybridnas.config import Task
from hybridnas.data import open_split

folder, own = sys.argv[1:]
model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
split = open_split(Task(), "val")
images = torch.stack([transform(split.read(i)) for i in range(len(split))])
with torch.inference_mode():
    guessed = torch.cat([model(batch).argmax(1) for batch in images.split(25)])
print((guessed.numpy() == split.labels).sum(), len(split))

features = timm.create_model(f"local-dir:{own}", pretrained=True, features_only=True)
print([map.shape[1] for map in features(torch.zeros(1, 3, 32, 32))])
"""


# ---------------------------------------------------------------- the score


def test_another_process_counts_the_same_images(
    storage: str, exported: Path, tmp_path: Path
) -> None:
    _, _, evaluation = trained(storage)
    top1 = evaluation.metrics["top1"]
    assert top1 is not None
    assert top1 > 0.3, "trained, so better than chance"

    (tmp_path / "my_mixers.py").write_text(MY_MIXERS)
    raw = {"stages": [{"width": 16, "blocks": BLOCKS}, {"width": 24, "blocks": BLOCKS}]}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        own = Architecture.from_dict(raw)
        export_model(own, tmp_path / "own", None, None, num_classes=10, input_size=32)
    assert "Needs on Python's path: `my_mixers`." in (tmp_path / "own/README.md").read_text()

    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels", tmp_path)))
    done = subprocess.run(
        [sys.executable, "-c", COUNT_AGAIN, str(exported), str(tmp_path / "own")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{round(top1 * 497)} 497\n[16, 24]\n", done.stderr


def test_a_classifier_is_read_back_as_timm_reads_it(exported: Path) -> None:
    model = load_model(str(exported))
    want = timm.create_model(f"local-dir:{exported}", pretrained=True).eval()
    assert not model.training
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(model(images), want(images))


def test_scoring_gives_what_the_database_holds(storage: str, exported: Path) -> None:
    _, _, evaluation = trained(storage)
    score = score_export(exported, device="cpu")
    for name in ("top1", "top5", "top1_se", "num_images", "num_corrupt"):
        assert score[name] == evaluation.metrics[name]
    assert (score["split"], score["data"], score["batch_size"]) == ("val", "digits", 25)
    assert score_export(exported, split="test", device="cpu")["num_images"] == 300
    assert score_export(exported, batch_size=7, device="cpu")["top1"] == score["top1"]


# ---------------------------------------------------------------- the folder


def test_the_config_says_where_the_model_is_from(storage: str, exported: Path) -> None:
    _, row, evaluation = trained(storage)
    config = json.loads((exported / "config.json").read_text())
    assert Architecture.from_dict(config["model_args"]["architecture"]) == row.architecture
    pretrained, origin = config["pretrained_cfg"], config["hybridnas"]
    assert pretrained["input_size"] == [3, 32, 32]
    assert pretrained["label_names"] == list("0123456789")
    assert (origin["study"], origin["trial"]) == ("shapes", 0)
    assert origin["metrics"] == evaluation.metrics
    assert origin["protocol_digest"] == evaluation.protocol_digest
    assert origin["versions"]["torch"] == torch.__version__


def test_the_card_holds_the_numbers(storage: str, exported: Path) -> None:
    _, row, evaluation = trained(storage)
    metrics, card = evaluation.metrics, (exported / "README.md").read_text()
    known = cost(row.architecture, 32, num_classes=10)
    for words in (
        f"# {row.architecture.short}\n",
        f"study `shapes`, trial 0. Scored top1 {metrics['top1']:.4f}, top5 ",
        f"standard error of top1 {metrics['top1_se']:.4f} on 497 images of the split `val`",
        f"- architecture `{row.architecture.digest}`, 10 classes",
        f"{known.params:,} parameters, {known.macs / 1e6:,.2f} M MACs at 32 px (fvcore's rules",
        f"| 1 | {row.architecture.describe()[0]} | ",
        "after 2 epochs at 32 px, seed 0. The search chose by the split `val`, so the scor",
        "`hybridnas evaluate PATH_OF_THIS_FOLDER --split test` scores images that chose nothing",
        "`hybridnas evaluate PATH_OF_THIS_FOLDER` counts the score again",
    ):
        assert words in card


def test_the_model_is_a_timm_model(exported: Path) -> None:
    name = f"local-dir:{exported}"
    kept = load_file(exported / "model.safetensors")
    model: Any = timm.create_model(name, pretrained=True)
    assert all(kept[key].equal(value) for key, value in model.state_dict().items())
    assert model.pretrained_cfg["label_names"] == list("0123456789")
    features: Any = timm.create_model(name, pretrained=True, features_only=True)
    assert [tuple(map.shape[2:]) for map in features(torch.zeros(1, 3, 32, 32))] == [
        (8, 8),
        (4, 4),
    ]
    other: Any = timm.create_model(name, pretrained=True, num_classes=3)
    assert other(torch.zeros(1, 3, 48, 40)).shape == (1, 3)
    assert other.stem.conv1.weight.equal(kept["stem.conv1.weight"])
    grey: Any = timm.create_model(name, pretrained=True, in_chans=1)
    assert grey(torch.zeros(1, 1, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize("named", ["mambaout_femto", "tiny.json"])
def test_untrained_exports_are_the_same_bytes_each_time(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.json").write_text(TINY.to_json())
    architecture = architecture_of(named, "sqlite:///none.db").architecture
    for number, folder in enumerate((Path("one"), Path("two"))):
        torch.manual_seed(number)
        before = torch.get_rng_state()
        export_model(architecture, folder, None, None)
        assert torch.get_rng_state().equal(before)
    files = sorted(path.name for path in Path("one").iterdir())
    assert files == ["README.md", "architecture.svg", "config.json", "model.safetensors"]
    for name in files:
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()
    assert "**Untrained**: random weights." in Path("one/README.md").read_text()
    assert timm.create_model("local-dir:one", pretrained=True).num_classes == 1000
