"""Exported folders: what they hold, and that they score just as the search scored them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import search_helpers as helpers
import timm
import torch
from safetensors.torch import load_file, save_file
from test_own_mixer import BLOCKS, MY_MIXERS

from hybridnas.architecture import Architecture
from hybridnas.cli.resolve import architecture_of, origin_of
from hybridnas.cost import cost
from hybridnas.errors import ConfigError, DataError, ExportError
from hybridnas.evaluate import evaluate
from hybridnas.export import export_model, score_export
from hybridnas.search import weights
from hybridnas.search.plan import make_plan
from hybridnas.search.studies import read_study
from hybridnas.search.view import StudyView
from hybridnas.search.worker import as_evaluation
from hybridnas.store import Store

ROOT = Path(__file__).parent.parent
STAGES = [{"depth": 1, "width": 16, "mixer": mixer} for mixer in ("gated_conv", "ssm")]
STUDY = {
    **helpers.RAW,
    "space": {**helpers.SIX, "stages": STAGES},
    "fidelities": [{"epochs": 2, "resolution": 32}],
    "recipe": {
        "batch_size": 25,
        "lr": 2e-3,
        "warmup_epochs": 0.5,
        "augmentation": {"scale": [0.8, 1.0], "hflip": 0},
    },
}
TINY = Architecture.from_dict(
    {"stages": [{"width": 8, "blocks": [{"form": "gated", "mixer": "gated_conv"}]}]}
)

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


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study's database with one trial that was really trained, for seconds on digits."""
    folder = tmp_path_factory.mktemp("study")
    url = f"sqlite:///{folder / 'study.db'}"
    plan = make_plan(read_study(STUDY))
    with Store.open(url) as store:
        core = helpers.start(plan, store)
        candidate = helpers.asked(core)
        outcome = evaluate(candidate.architecture, plan.protocol, device="cpu")
        assert outcome.state_dict is not None, outcome.message
        kept = weights.save(outcome.state_dict, str(folder), "trial0")
        found = as_evaluation(
            outcome, candidate.digest, plan.protocol.digest, dict(candidate.costs), 0, kept
        )
        store.record(candidate.token, found)
        core.settle(candidate.number)
    return url


def view_of(storage: str) -> StudyView:
    with Store.open(storage, create=False) as store:
        return StudyView("shapes", store)


@pytest.fixture(scope="module")
def exported(storage: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    view = view_of(storage)
    (row,) = view.finished
    assert row.evaluation is not None
    assert row.evaluation.weights is not None
    folder = tmp_path_factory.mktemp("exported") / "model"
    state = weights.load(row.evaluation.weights)
    export_model(row.architecture, folder, state, origin_of(view, row))
    return folder


def altered(exported: Path, to: Path, **config: object) -> Path:
    """A copy of the folder with keys of its config changed."""
    to.mkdir()
    for name in ("model.safetensors", "README.md"):
        (to / name).write_bytes((exported / name).read_bytes())
    before = json.loads((exported / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**before, **config}))
    return to


# ---------------------------------------------------------------- the score


def test_another_process_counts_the_same_images(
    storage: str, exported: Path, tmp_path: Path
) -> None:
    (row,) = view_of(storage).finished
    assert row.evaluation is not None
    top1 = row.evaluation.metrics["top1"]
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


def test_scoring_gives_what_the_database_holds(storage: str, exported: Path) -> None:
    (row,) = view_of(storage).finished
    assert row.evaluation is not None
    score = score_export(exported, device="cpu")
    for name in ("top1", "top5", "top1_se", "num_images", "num_corrupt"):
        assert score[name] == row.evaluation.metrics[name]
    assert (score["split"], score["data"], score["batch_size"]) == ("val", "digits", 25)
    assert score_export(exported, split="test", device="cpu")["num_images"] == 300
    assert score_export(exported, batch_size=7, device="cpu")["top1"] == score["top1"]


# ---------------------------------------------------------------- the folder


def test_the_config_says_where_the_model_is_from(storage: str, exported: Path) -> None:
    view = view_of(storage)
    (row,) = view.finished
    assert row.evaluation is not None
    config = json.loads((exported / "config.json").read_text())
    assert Architecture.from_dict(config["model_args"]["architecture"]) == row.architecture
    pretrained, origin = config["pretrained_cfg"], config["hybridnas"]
    assert pretrained["input_size"] == [3, 32, 32]
    assert pretrained["label_names"] == list("0123456789")
    assert (origin["study"], origin["trial"]) == ("shapes", 0)
    assert origin["metrics"] == row.evaluation.metrics
    assert origin["protocol_digest"] == row.evaluation.protocol_digest
    assert origin["versions"]["torch"] == torch.__version__


def test_the_card_holds_the_numbers(storage: str, exported: Path) -> None:
    (row,) = view_of(storage).finished
    assert row.evaluation is not None
    metrics, card = row.evaluation.metrics, (exported / "README.md").read_text()
    known = cost(row.architecture, 32, num_classes=10)
    for words in (
        f"# {row.architecture.short}\n",
        f"study `shapes`, trial 0. Scored top1 {metrics['top1']:.4f}, top5 ",
        f"standard error of top1 {metrics['top1_se']:.4f} on 497 images of the split `val`",
        f"- architecture `{row.architecture.digest}`, 10 classes",
        f"{known.params:,} parameters, {known.macs / 1e6:,.2f} M MACs at 32 px (fvcore's rules",
        f"| 1 | {row.architecture.describe()[0]} | ",
        "after 2 epochs at 32 px, seed 0",
        "`hybridnas evaluate PATH_OF_THIS_FOLDER` counts the score again",
    ):
        assert words in card


def test_the_model_is_a_timm_model(exported: Path) -> None:
    name = f"local-dir:{exported}"
    kept = load_file(exported / "model.safetensors")
    model = timm.create_model(name, pretrained=True)
    assert all(kept[key].equal(value) for key, value in model.state_dict().items())
    assert model.pretrained_cfg["label_names"] == list("0123456789")
    features = timm.create_model(name, pretrained=True, features_only=True)
    assert [tuple(map.shape[2:]) for map in features(torch.zeros(1, 3, 32, 32))] == [
        (8, 8),
        (4, 4),
    ]
    other = timm.create_model(name, pretrained=True, num_classes=3)
    assert other(torch.zeros(1, 3, 48, 40)).shape == (1, 3)
    assert other.stem.conv1.weight.equal(kept["stem.conv1.weight"])
    grey = timm.create_model(name, pretrained=True, in_chans=1)
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
    assert files == ["README.md", "config.json", "model.safetensors"]
    for name in files:
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()
    assert "**Untrained**: random weights." in Path("one/README.md").read_text()
    assert timm.create_model("local-dir:one", pretrained=True).num_classes == 1000


# ---------------------------------------------------------------- what cannot be


def test_weights_of_another_network_are_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"another network's, .*: head\.\S+ must be .*, got none"):
        export_model(TINY, tmp_path / "model", {}, None)
    state = timm.create_model("hybridnas", architecture=TINY, num_classes=3).state_dict()
    message = r"other classes by now: head\.fc\.bias must be 1000, got 3 \(2 of \d+ do not fit\)"
    with pytest.raises(ExportError, match=message):
        export_model(TINY, tmp_path / "model", state, None)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_gone_or_changed_are_refused(storage: str) -> None:
    (row,) = view_of(storage).finished
    assert row.evaluation is not None
    assert row.evaluation.weights is not None
    with pytest.raises(DataError, match="have changed since they were written"):
        weights.load({**row.evaluation.weights, "sha256": "0"})
    with pytest.raises(DataError, match=r"weights /nowhere cannot be read"):
        weights.load({**row.evaluation.weights, "path": "/nowhere"})


def test_a_metric_that_is_missing_is_left_out_of_the_card(storage: str, tmp_path: Path) -> None:
    view = view_of(storage)
    (row,) = view.finished
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
    message = r"knows the classes 0, 1, 2, 3, 4, ... \(10\), but .*pets has cat, dog, ... \(2\)"
    with pytest.raises(DataError, match=message):
        score_export(exported, data=str(tmp_path / "pets"))
    export_model(TINY, tmp_path / "fresh", None, None)
    with pytest.raises(DataError, match=r"fresh knows 1000 classes, but .*pets has 2"):
        score_export(tmp_path / "fresh", data=str(tmp_path / "pets"))
    with pytest.raises(ConfigError, match=r"does not say what it was trained on: give --data DIR"):
        score_export(tmp_path / "fresh")
