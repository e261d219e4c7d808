"""What cannot be exported, and folders that are no exports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
from export_helpers import TINY, trained
from safetensors.torch import load_file, save_file

from hybridnas.cli.origins import origin_of
from hybridnas.errors import ConfigError, DataError, ExportError
from hybridnas.export import export_model, score_export
from hybridnas.search import weights

pytest_plugins = ["export_helpers"]


def altered(exported: Path, to: Path, **config: object) -> Path:
    """A copy of the folder with keys of its config changed."""
    to.mkdir()
    for name in ("model.safetensors", "README.md"):
        (to / name).write_bytes((exported / name).read_bytes())
    before = json.loads((exported / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**before, **config}))
    return to


def test_weights_of_another_network_are_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"another network's, .*: head\.\S+ must be .*, got none"):
        export_model(TINY, tmp_path / "model", {}, None)
    state = timm.create_model("hybridnas", architecture=TINY, num_classes=3).state_dict()
    message = r"or of other classes: head\.fc\.bias must be 1000, got 3 \(2 of \d+ do not fit\)"
    with pytest.raises(ExportError, match=message):
        export_model(TINY, tmp_path / "model", state, None)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_gone_or_changed_are_refused(storage: str) -> None:
    _, _, evaluation = trained(storage)
    assert evaluation.weights is not None
    with pytest.raises(DataError, match="have changed since they were written"):
        weights.load({**evaluation.weights, "sha256": "0"})
    with pytest.raises(DataError, match=r"weights /nowhere cannot be read"):
        weights.load({**evaluation.weights, "path": "/nowhere"})


def test_a_metric_that_is_missing_is_left_out_of_the_card(storage: str, tmp_path: Path) -> None:
    view, row, _ = trained(storage)
    origin = replace(origin_of(view, row), metrics={"top1": 0.0, "top5": None})
    export_model(row.architecture, tmp_path / "model", None, origin)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Scored top1 0.0000 of the split `val`" in card


CONFIGS: list[tuple[dict[str, object], str]] = [
    ({"architecture": "resnet18"}, "is not of a model that hybridnas exported"),
    ({"model_args": {"architecture": {"stages": []}}}, r"config.json: stages: expected a list"),
    ({"model_args": {"architecture": TINY.to_dict()}}, r"safetensors does not fit config.json: "),
    ({"hybridnas": {"protocol": {"epochs": 3}}}, r"config.json: its protocol cannot be read"),
    ({"hybridnas": {}}, r"config.json: its protocol cannot be read"),
]


@pytest.mark.parametrize(("changes", "message"), CONFIGS)
def test_a_folder_with_another_config_is_refused(
    exported: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        score_export(altered(exported, tmp_path / "model", **changes))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{", r"config.json is not valid JSON"),
        ("config.json", b"[1]", r"config.json is not of a model that hybridnas exported"),
        ("config.json", b"\xff", r"config.json is not valid JSON: .*utf-8"),
        ("model.safetensors", b"\0" * 100, r"model.safetensors is no safetensors file"),
        ("model.safetensors", b"", r"model.safetensors is no safetensors file"),
    ],
)
def test_a_broken_folder_is_refused(
    exported: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    folder = altered(exported, tmp_path / "model")
    (folder / name).write_bytes(content)
    with pytest.raises(ExportError, match=message):
        score_export(folder)


def test_a_folder_that_lacks_a_file_is_refused(exported: Path, tmp_path: Path) -> None:
    folder = altered(exported, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ExportError, match=r"is no exported model: model.safetensors not found"):
        score_export(folder)
    kept = load_file(exported / "model.safetensors")
    save_file({key: kept[key] for key in list(kept)[1:]}, folder / "model.safetensors")
    with pytest.raises(ExportError, match=r"does not fit config.json: .*Missing key"):
        score_export(folder)


def test_data_of_other_classes_is_refused(exported: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            (folder / "1.png").touch()
    message = r"knows the classes 0, 1, 2, 3, 4, ... \(10\), but .*pets has cat, dog \(2\)"
    with pytest.raises(DataError, match=message):
        score_export(exported, data=str(tmp_path / "pets"))
    export_model(TINY, tmp_path / "fresh", None, None)
    with pytest.raises(DataError, match=r"fresh knows 1000 classes, but .*pets has 2"):
        score_export(tmp_path / "fresh", data=str(tmp_path / "pets"))
    with pytest.raises(ConfigError, match=r"does not say what it was trained on: give --data DIR"):
        score_export(tmp_path / "fresh")
