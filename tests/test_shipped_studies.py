"""The studies for real data: what they say is checked on miniature folders of the same layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import Cli
from coco_helpers import draw
from mask_sets import write_set
from PIL import Image

from hybridnas.ablate.twins import places_in, twin_of
from hybridnas.architecture import Architecture
from hybridnas.cost import cost
from hybridnas.resources import shipped
from hybridnas.search.studies import read_study
from hybridnas.space import SearchSpace

pytest_plugins = ["cli_helpers"]


def imagenet(root: Path) -> None:
    """101 classes by WordNet's numbers, of which the recipe takes 100."""
    for split in ("train", "val"):
        for number in range(101):
            folder = root / split / f"n{number:08}"
            folder.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(folder / f"{split}_{number}.JPEG")


def ade20k(root: Path) -> None:
    write_set(root, training=3, validation=2)


def coco(root: Path) -> None:
    draw(root, "train2017", 3)
    draw(root, "val2017", 2, seed=1)


@pytest.mark.parametrize(
    ("study", "write", "classes", "rungs"),
    [
        ("imagenet_proxy", imagenet, 100, 2),
        ("ade20k_proxy", ade20k, 3, 2),
        ("coco_proxy", coco, 2, 1),
        ("cluster", imagenet, 100, 2),
    ],
)
def test_it_passes_the_dry_run(
    study: str, write: Callable[[Path], None], classes: int, rungs: int, cli: Cli, tmp_path: Path
) -> None:
    write(tmp_path / "data")
    data = f"task.data={tmp_path / 'data'}"
    found = cli.json("search", study, "--set", data, "--dry-run")
    assert (found["study"], found["classes"], len(found["fidelities"])) == (study, classes, rungs)
    assert 0.02 < found["feasible_share"] < 1, "the limit binds, and leaves enough"
    assert found["sampler"] == "ehvi"
    assert not (tmp_path / "hybridnas.db").exists()
    elastic = "64 candidates at once, 8 CPU and 1 GPU each"
    assert (found["resources"] == elastic) == (study == "cluster")


def test_two_tasks_pass_the_dry_run(cli: Cli, tmp_path: Path) -> None:
    imagenet(tmp_path / "imagenet")
    ade20k(tmp_path / "ade")
    settings = [f"task.data={tmp_path / 'imagenet'}", f"also.ade20k.task.data={tmp_path / 'ade'}"]
    words = ["search", "imagenet_ade20k", *(word for s in settings for word in ("--set", s))]
    found = cli.json(*words, "--dry-run")
    other = found["also"]["ade20k"]
    assert (found["classes"], other["task"], other["classes"]) == (100, "segmentation", 3)
    assert [rung["candidates"] for rung in other["fidelities"]] == [
        150,
        found["fidelities"][1]["candidates"],
    ]
    assert 0.02 < found["feasible_share"] < 1, "the limits bind, and leave enough"
    refused = cli.refused("search", "imagenet_ade20k", "--set", settings[0], "--dry-run")
    assert "also.ade20k: task.data: " in refused


def test_a_missing_data_set_is_said_at_once(cli: Cli) -> None:
    assert "/shared/imagenet does not exist" in cli.refused("search", "cluster", "--dry-run")


ARMS = {
    "live": [],
    "live-tpe": ["sampler=tpe", "fidelities=[{epochs: 15, resolution: 64}]"],
    "live-random": ["sampler=random", "fidelities=[{epochs: 15, resolution: 64}]"],
}


def test_arms_of_the_live_comparison_differ_in_sampler_and_rungs_alone(
    cli: Cli, tmp_path: Path
) -> None:
    imagenet(tmp_path / "data")
    told = (shipped("studies")["live"]).read_text()
    studies = {}
    for name, settings in ARMS.items():
        assert all(f"--set {s}" in told or f"--set '{s}'" in told for s in settings)
        words = [f"task.data={tmp_path / 'data'}", f"name={name}", *settings]
        settings = [word for setting in words for word in ("--set", setting)]
        found = cli.json("search", "live", *settings, "--dry-run", "--ray", "auto")
        assert found["budget"] == {"gpu_hours": 1}
        assert found["final"] == {"retrain": 8, "seeds": 3}
        studies[name] = read_study("live", words)
    ehvi, *others = studies.values()
    for other in others:
        assert other.fidelities == ehvi.fidelities[1:]
        same = {key: getattr(ehvi, key) for key in ("name", "sampler", "fidelities")}
        assert other.model_copy(update=same) == ehvi
    assert [study.sampler.name for study in studies.values()] == ["ehvi", "tpe", "random"]


def test_layouts_for_masks_have_equal_macs_at_the_crop(cli: Cli, tmp_path: Path) -> None:
    ade20k(tmp_path / "data")
    words = ("layouts81_camvid", "--set", f"task.data={tmp_path / 'data'}")
    found = cli.json("search", *words, "--dry-run")
    assert (found["size"], found["sampler"], found["budget"]) == (81, "grid", {"trials": 81})
    study = read_study("layouts81_camvid", [])
    space, classes = SearchSpace.load(study.space), SearchSpace.load("layouts81")
    assert space.genes == classes.genes
    crop, width = study.fidelity.resolution, study.task.head_width
    macs = [
        cost(space.decode(genome), crop, "segmentation", 11, head_width=width).macs
        for genome in space.all_genomes()
    ]
    assert max(macs) < 1.015 * min(macs)


def test_what_was_found_keeps_the_limit_of_its_search() -> None:
    study = read_study("live", ())
    assert study.constraints.macs is not None
    limit = study.constraints.macs.max
    assert limit is not None
    assert isinstance(study.space, str)
    space = SearchSpace.load(study.space)
    files = sorted(Path("studies/found").glob("*.yaml"))
    found = {file.stem: Architecture.load(file) for file in files}
    assert [*found] == ["ehvi1", "one1", "tpe1", "tpe1_gated", "tpe2"]
    twin = found.pop("tpe1_gated")
    assert twin == twin_of(found["tpe1"], places_in(found["tpe1"]), (64, 64)).architecture
    for name, architecture in found.items():
        assert space.contains(architecture), name
        assert cost(architecture, study.fidelity.resolution, num_classes=20).macs <= limit
