"""Studies of segmentation and detection from their YAML to a model that is scored again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from cli_helpers import Cli
from coco_helpers import PACKS, unpacked
from dense_helpers import Trained, raw, write_data
from mask_sets import real_set

import hybridnas
from hybridnas.cost import cost, input_size
from hybridnas.errors import ConfigError, ExportError, SpaceError
from hybridnas.evaluate import evaluate
from hybridnas.export import Extras, export_model, score_export
from hybridnas.search.counted import counted_size
from hybridnas.search.ladder import ladder
from hybridnas.search.plan import feasibility, make_plan, survey
from hybridnas.search.studies import read_study
from hybridnas.space import Genome
from hybridnas.task_defaults import TASK_DEFAULTS
from hybridnas.tasks import TASKS
from hybridnas.tasks.inference import Inference
from hybridnas.train import network_of

pytest_plugins = ["cli_helpers", "dense_helpers"]

DENSE = ["segmentation", "detection"]
WIDTHS = (8, 16)


# ---- before anything is trained


@pytest.mark.parametrize(
    ("task", "resolution", "size"),
    [
        ("segmentation", 64, (64, 256)),
        ("detection", 80, (80, 128)),
        ("classification", 64, (64, 64)),
    ],
)
def test_costs_are_counted_at_the_task_s_proportions(
    task: str, resolution: int, size: tuple[int, int]
) -> None:
    assert input_size(task, resolution) == size


@pytest.mark.parametrize("task", DENSE)
def test_the_head_counts(task: str, tmp_path: Path) -> None:
    plan = make_plan(read_study(raw(task, write_data(task, tmp_path / "data"))))
    genome: Genome = {"stage1.width": 8, "stage2.width": 16}
    architecture = plan.space.decode(genome)
    found = feasibility(plan).cost_of(genome)
    size = counted_size(plan.study)
    known = cost(architecture, size, task, plan.num_classes, head_width=8)
    assert found == {"macs": known.macs, "params": known.params}
    assert known.head.macs > 0.1 * known.macs
    # A limit that backbones alone would keep, and that none keeps with its head.
    without = cost(architecture, size, num_classes=plan.num_classes).macs
    study = raw(task, tmp_path / "data", constraints={"macs": {"max": without}})
    with pytest.raises(SpaceError, match=f"with the head of {task}, at {size[0]} x {size[1]} px"):
        make_plan(read_study(study))
    assert survey(plan)["smallest_macs"] > without


@pytest.mark.parametrize("task", DENSE)
def test_a_space_of_one_stage_is_refused(task: str, tmp_path: Path) -> None:
    study = raw(task, write_data(task, tmp_path / "data"))
    one = {**study["space"], "name": "flat", "stages": study["space"]["stages"][:1]}
    with pytest.raises(SpaceError, match=r"space 'flat': .* needs a pyramid of maps: an arch"):
        make_plan(read_study({**study, "space": one}))


@pytest.mark.parametrize("task", DENSE)
def test_what_the_recipe_cannot_ask_for_is_refused_before_the_search(
    task: str, tmp_path: Path
) -> None:
    study = raw(task, write_data(task, tmp_path / "data"))
    study["recipe"] = {**study["recipe"], "augmentation": {"mixup": 0.8}}
    with pytest.raises(ConfigError, match=f"augmentation: {task} takes hflip only, got mixup"):
        make_plan(read_study(study))


def test_a_search_starts_from_a_file_only_where_it_fits_everywhere(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained.folder)
    study = raw(trained.task, trained.data, init="model.safetensors")
    with pytest.raises(ConfigError, match=r"init: the weights of .* every architecture of its sp"):
        make_plan(read_study(study))
    stages = [
        {"depth": 1, "width": s.width, "mixer": s.blocks[0].mixer_name}
        for s in trained.row.architecture.stages
    ]
    only = {**study, "space": {**study["space"], "stages": stages}}
    plan = make_plan(read_study(only))
    assert plan.protocol.init == str(trained.folder / "model.safetensors")
    fresh = make_plan(read_study({**only, "init": "none"}))
    assert plan.protocol.digest != fresh.protocol.digest
    outcome = evaluate(trained.row.architecture, plan.protocol, device="cpu")
    assert outcome.status == "ok", outcome.message


@pytest.mark.parametrize("task", DENSE)
def test_doctor_looks_at_its_data(task: str, cli: Cli, tmp_path: Path) -> None:
    data = write_data(task, tmp_path / "data")
    found = {each["what"]: each for each in cli.json("doctor", "--data", str(data))}
    sizes = {
        "segmentation": "segmentation: 4 training, 3 validation, 3 classes, digest ",
        "detection": "detection: 5 train2017, 3 val2017, 2 classes, digest ",
    }
    assert found[f"data {data}"]["found"].startswith(sizes[task])
    wrong = cli.json("doctor", "--data", str(data), "--task", "classification")
    assert [each["ok"] for each in wrong if each["what"] == f"data {data}"] == [False]
    assert "unknown task 'tracking'; allowed: " in cli.refused("doctor", "--task", "tracking")


# ---- what a trained one leaves


def test_the_study_shows_the_task_s_figures(trained: Trained, cli: Cli) -> None:
    first = TASK_DEFAULTS[trained.task].measures[0]
    assert trained.view.study.measured == first
    value = trained.row.value(first)
    at = ("--storage", trained.storage)
    size = " x ".join(map(str, counted_size(trained.view.study)))
    shown = cli.shown("pareto", trained.task, *at)
    assert f"MACs at {size} px" in shown
    assert f"{value:.4f}" in shown
    assert "+-" not in shown
    (member,) = cli.json("pareto", trained.task, *at)
    assert member["values"][first] == value
    assert not any(name.endswith("_se") for name in member)
    assert f"{first} {value:.4f}" in cli.shown("status", trained.task, *at)
    header = cli.shown("pareto", trained.task, *at, "--csv").splitlines()[0]
    assert header == f"trial,arch,{first},macs,params,stages,seeds,{first}_spread"
    cli.shown("pareto", trained.task, *at, "--plot", "front.svg")
    assert f"MACs at {size} px" in Path("front.svg").read_text()
    known = cli.json("cost", f"{trained.task}:0", *at)
    assert (known["task"], known["macs"]) == (trained.task, trained.row.value("macs"))
    assert f"{size} px" in cli.shown("cost", f"{trained.task}:0", *at)


def test_an_export_scores_what_the_database_says(trained: Trained, cli: Cli) -> None:
    assert trained.row.evaluation is not None
    found = cli.json("evaluate", str(trained.folder), "--task", trained.task)
    known = trained.row.evaluation.metrics
    measured = {name: known[name] for name in found if name in known}
    assert {name: found[name] for name in measured} == pytest.approx(measured, abs=1e-6)
    assert TASK_DEFAULTS[trained.task].measures[0] in measured
    assert (found["task"], found["num_images"], found["device"]) == (trained.task, 3, "cpu")
    assert found["inference"] == {"window": None, "stride": None, "scales": [1.0], "flip": False}
    assert found["resolution"] == trained.view.study.fidelity.resolution
    other = "train2017" if trained.task == "detection" else "training"
    again = score_export(trained.folder, data=str(trained.data), split=other)
    assert (again["split"], again["num_images"]) == (other, 5 if trained.task == "detection" else 4)


def test_an_export_is_a_model_and_a_backbone(trained: Trained) -> None:
    model = hybridnas.load_model(trained.folder)
    assert not model.training
    image = torch.rand(1, 3, 64, 96)
    features = timm.create_model(
        f"local-dir:{trained.folder}", pretrained=True, features_only=True
    ).eval()
    with torch.inference_mode():
        inside: Any = network_of(model).forward_intermediates(image, intermediates_only=True)
        for mine, theirs in zip(features(image), inside, strict=True):
            assert torch.equal(mine, theirs)
        found: Any = model(image if trained.task == "segmentation" else [image[0]])
    if trained.task == "segmentation":
        assert found.shape == (1, 3, 64, 96)
    else:
        assert found[0]["masks"].shape[1:] == (1, 64, 96)
    classes = json.loads((trained.folder / "config.json").read_text())["pretrained_cfg"]
    assert len(classes["label_names"]) == (3 if trained.task == "segmentation" else 2)


def test_the_card_s_code_runs(trained: Trained, tmp_path: Path) -> None:
    card = (trained.folder / "README.md").read_text()
    first = TASK_DEFAULTS[trained.task].measures[0]
    assert f"{first} {trained.row.value(first):.4f}" in card
    use, backbone = (part.partition("```")[0] for part in card.split("```python\n")[1:])
    images = trained.data / ("val2017" if trained.task == "detection" else "images/validation")
    picture = next(images.iterdir())
    for code in (use, backbone):
        code = code.replace("PATH_OF_THIS_FOLDER", str(trained.folder))
        exec(code.replace("IMAGE.jpg", str(picture)), {"__name__": "__main__"})


def test_what_a_dense_model_cannot_be_is_refused(
    trained: Trained, tmp_path: Path, cli: Cli
) -> None:
    arch, storage = f"{trained.task}:0", ("--storage", trained.storage)
    refused = cli.refused("export", arch, "--out", "alone", "--standalone", *storage)
    assert f"a model for {trained.task} needs hybridnas for its head" in refused
    if trained.task == "detection":
        for option in ("--onnx", "--torch-export"):
            message = cli.refused("export", arch, "--out", "program", option, *storage)
            assert "leave --onnx and --torch-export out" in message
        with pytest.raises(ConfigError, match="how segmentation sees an image, not detection"):
            score_export(trained.folder, inference=Inference(flip=True))
    other = next(task for task in DENSE if task != trained.task)
    message = cli.refused("evaluate", str(trained.folder), "--task", other)
    assert message == f"{trained.folder} is a model for {trained.task}, got --task {other}"
    broken = shutil.copytree(trained.folder, tmp_path / "broken")
    (broken / "head.safetensors").unlink()
    with pytest.raises(ExportError, match=f"for {trained.task}: no head.safetensors"):
        hybridnas.load_model(broken)
    shutil.copy(trained.folder / "model.safetensors", broken / "head.safetensors")
    with pytest.raises(ExportError, match=r"broken: the weights are another network's"):
        hybridnas.load_model(broken)
    (broken / "head.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(ExportError, match=r"its weights are no safetensors files"):
        hybridnas.load_model(broken)


@pytest.mark.parametrize("trained", ["segmentation"], indirect=True)
def test_segmentation_can_look_in_other_ways(trained: Trained, cli: Cli) -> None:
    folder = str(trained.folder)
    whole = cli.json("evaluate", folder)
    slid = cli.json("evaluate", folder, "--window", "24", "--stride", "12")
    many = cli.json("evaluate", folder, "--scales", "0.5,1", "--flip")
    assert slid["inference"] == {"window": 24, "stride": 12, "scales": [1.0], "flip": False}
    assert many["inference"] == {"window": None, "stride": None, "scales": [0.5, 1], "flip": True}
    shown = cli.shown("evaluate", folder, "--window", "24", "--flip")
    assert "inference each image by windows of 24 px, 16 px apart, mirrored, too\n" in shown
    assert len({found["miou"] for found in (whole, slid, many)}) == 3
    assert cli.json("evaluate", folder, "--window", "64")["miou"] == pytest.approx(whole["miou"])


@pytest.mark.parametrize("trained", ["segmentation"], indirect=True)
def test_segmentation_leaves_as_a_program(trained: Trained, tmp_path: Path) -> None:
    from hybridnas.cli.origins import origin_of

    origin = origin_of(trained.view, trained.row)
    extras = Extras(program=True)
    export_model(trained.row.architecture, tmp_path / "model", None, origin, extras=extras)
    program = torch.export.load(tmp_path / "model" / "model.pt2").module()
    images = torch.rand(3, 3, 32, 32)
    with torch.inference_mode():
        want = hybridnas.load_model(tmp_path / "model")(images)
        torch.testing.assert_close(program(images), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("task", DENSE)
def test_a_training_s_cost_is_that_of_the_images_it_sees(task: str, tmp_path: Path) -> None:
    """Segmentation trains on square crops, and is counted on four times as much."""
    plan = make_plan(read_study(raw(task, write_data(task, tmp_path / "data"))))
    (rung,) = ladder(plan)
    seen = {"segmentation": (32, 32), "detection": (32, 51)}[task]
    loader = TASKS[task].loaders(plan.protocol, torch.device("cpu"), 0).train
    if task == "segmentation":
        assert next(iter(loader))[0].shape[-2:] == seen
    drawn = [
        plan.space.decode({"stage1.width": a, "stage2.width": b}) for a in WIDTHS for b in WIDTHS
    ]
    macs = [cost(a, seen, task, plan.num_classes, head_width=8).macs for a in drawn]
    assert min(macs) <= rung.macs <= max(macs)


# ---- the whole, on Ray


@pytest.mark.slow
@pytest.mark.parametrize("task", DENSE)
def test_a_search_from_a_file_to_a_front(task: str, cli: Cli, ray: None, tmp_path: Path) -> None:
    study = raw(task, write_data(task, tmp_path / "data"), resources={"concurrent": 1})
    Path("study.yaml").write_text(yaml.safe_dump(study))
    dry = cli.json("search", "study.yaml", "--dry-run")
    assert (dry["task"], dry["classes"]) == (task, 3 if task == "segmentation" else 2)
    found = cli.json("search", "study.yaml")
    (member,) = found["front"]
    assert member["values"].keys() == {TASK_DEFAULTS[task].measures[0], "macs"}
    cli.shown("export", f"{task}:0", "--out", "model")
    again = cli.json("evaluate", "model")
    name = TASK_DEFAULTS[task].measures[0]
    assert again[name] == pytest.approx(member["values"][name], abs=1e-6)


@pytest.mark.parametrize("task", DENSE)
def test_the_shipped_studies_take_real_sets(task: str, cli: Cli, tmp_path: Path) -> None:
    if task == "segmentation":
        data = real_set("seg_camvid", tmp_path)
    elif not (PACKS / "det_coco_mini.tar.gz").exists():
        pytest.skip("det_coco_mini is not there")
    else:
        data = unpacked("det_coco_mini", tmp_path)
    dry = cli.json("search", task, "--dry-run", "--set", f"task.data={data}")
    assert dry["classes"] == (11 if task == "segmentation" else 80)
    assert dry["feasible_share"] > 0.1
