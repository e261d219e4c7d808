"""The commands about single architectures, spaces and models."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from cli_helpers import DATABASE, Cli
from safetensors.torch import load_file, save_file
from search_helpers import asked, plan, start

from hybridnas.architecture import Architecture
from hybridnas.cost import cost
from hybridnas.reference import reference
from hybridnas.resources import shipped
from hybridnas.space import SearchSpace
from hybridnas.store import Store

pytest_plugins = ["cli_helpers"]

# ---------------------------------------------------------------- cost


def test_cost(cli: Cli) -> None:
    found = cli.json("cost", "mambaout_tiny", "--input-size", "96x64", "--num-classes", "10")
    known = cost(reference("mambaout_tiny"), (96, 64), num_classes=10)
    assert (found["params"], found["macs"]) == (known.params, known.macs)
    assert (found["input_size"], found["num_classes"]) == ([96, 64], 10)
    keys = ["stage", "depth", "width", "mixers", "params", "macs", "tokens", "long_sequence_ratio"]
    assert [list(stage) for stage in found["stages"]] == [keys] * 4
    parts = [found["stem"], *found["stages"], found["head"]]
    assert sum(part["macs"] for part in parts) == found["macs"]

    shown = cli.shown("cost", "mambaout_tiny")
    assert "mambaout_tiny at 224 x 224 px, 1000 classes" in shown
    assert "│ total │ │ │ │ 26.5 M │ 4.49 G │ 100.0% │ │ │" in shown
    assert "MACs: fvcore's rules" in shown


def test_a_trial_costs_what_its_study_says(populated: Cli) -> None:
    (first, *_) = populated.json("pareto", "shapes")
    found = populated.json("cost", f"shapes:{first['trial']}")
    assert found["input_size"] == [32, 32]
    assert found["num_classes"] == 10
    assert (found["macs"], found["params"]) == (first["values"]["macs"], found["params"])
    larger = populated.json("cost", f"shapes:{first['trial']}", "--input-size", "64")
    assert larger["macs"] > found["macs"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("mambaout_tinny",),
            r"no architecture 'mambaout_tinny' \(mambaout_tiny\?\): give the name of one that",
        ),
        (("none.json",), r"no architecture 'none.json': .* a JSON or YAML file, or STUDY:TRIAL"),
        (("mambaout_tiny", "--input-size", "1x2x3"), r"takes 224 or 512x2048 .*, got '1x2x3'"),
        (("mambaout_tiny", "--input-size", "0"), r"--input-size takes 224 .*, got '0'"),
        (
            ("mambaout_tiny", "--task", "depth"),
            r"unknown task 'depth'; allowed: classification, seg",
        ),
        (
            ("mambaout_tiny", "--num-classes", "many"),
            r"Invalid value for '--num-classes': must be a whole number, got 'many'; see ",
        ),
        (("shapes:3",), r"no database at sqlite:.*/hybridnas.db"),
    ],
)
def test_a_bad_cost_is_refused(cli: Cli, words: tuple[str, ...], message: str) -> None:
    assert re.search(message, cli.refused("cost", *words))


def test_trials_and_studies_that_are_not_there(populated: Cli) -> None:
    for command in (["cost"], ["archs", "show"], ["export", "--out", "model"]):
        assert "study 'shapes' has no trial 99; it has 0 to 5" in populated.refused(
            *command, "shapes:99"
        )
        assert "study 'empty' has no trial 0; it has none yet" in populated.refused(
            *command, "empty:0"
        )
        assert "no study 'nope' in the database; it has: shapes, empty" in populated.refused(
            *command, "nope:0"
        )
        assert "no architecture 'shapes:x'" in populated.refused(*command, "shapes:x")


BAD_FILES = [
    ('{"stages": [], "width": 3}', r"bad.json: architecture: unknown key 'width'; allowed: downs"),
    ('{"stages": [{"width": 8, "blocks": [{"form": "gated", "mixer": "mamba"}]}]}', r"'mamba'"),
    ('{"stem": "double_conv"}', r"bad.json: architecture: 'stages' is missing"),
    ("[1, 2]", r"bad.json: architecture: expected a mapping, got"),
    ("{", r"bad.json: not valid JSON"),
]


@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_a_bad_architecture_is_refused(cli: Cli, text: str, message: str) -> None:
    Path("bad.json").write_text(text)
    for command in (["cost"], ["archs", "show"], ["export", "--untrained", "--out", "model"]):
        refused = cli.refused(*command, "bad.json")
        assert re.search(message, refused), refused


# ---------------------------------------------------------------- spaces


def test_spaces(cli: Cli) -> None:
    found = cli.json("spaces")
    assert [each["name"] for each in found] == list(shipped("search_spaces"))
    shown = cli.shown("spaces")
    assert all(each["description"] in shown for each in found)

    space = SearchSpace.load("hybrid_small")
    document = cli.json("spaces", "show", "hybrid_small")
    assert document["size"] == space.size()
    assert document["genes"] == {gene: list(values) for gene, values in space.genes.items()}
    assert "│ stage2.width │ 16 | 32 | 48 | 64 | 96 │" in cli.shown(
        "spaces", "show", "hybrid_small"
    )

    done = cli("spaces", "show", "hybrid_small", "--yaml")
    assert done.out == shipped("search_spaces")["hybrid_small"].read_text()
    Path("mine.yaml").write_text(done.out)
    assert cli.json("spaces", "show", "mine.yaml") == document
    assert "--yaml or --json" in cli.refused("spaces", "show", "hybrid_small", "--yaml", "--json")

    drawn = cli.json("spaces", "sample", "hybrid_small", "-n", "3", "--seed", "1")
    for each in drawn:
        architecture = Architecture.from_dict(each["architecture"])
        assert (architecture.digest, architecture.short) == (each["arch"], each["stages"])
        assert space.contains(architecture)
    assert cli.json("spaces", "sample", "hybrid_small", "-n", "3", "--seed", "1") == drawn
    shown = cli.shown("spaces", "sample", "hybrid_small", "-n", "3", "--seed", "1")
    assert all(each["arch"] in shown for each in drawn)
    assert "(MACs at 32 px, 1000 classes)" in shown


def test_bad_spaces_are_refused(cli: Cli) -> None:
    for command in (["show"], ["sample"]):
        message = cli.refused("spaces", *command, "hybird")
        assert (
            "no search space 'hybird' (hybrid?): it is neither a file nor one of the shipped"
            in message
        )
    Path("bad.yaml").write_text("name: bad\nstages: []\nwidth: 3\n")
    assert "unknown key 'width' (stages.0.width?); allowed: name, " in cli.refused(
        "spaces", "show", "bad.yaml"
    )


# ---------------------------------------------------------------- export and evaluate


def test_export_a_trial(populated: Cli) -> None:
    shown = populated.shown("export", "shapes:0", "--out", "models/mine")
    assert "written: models/mine" in shown
    assert 'timm.create_model("local-dir:models/mine", pretrained=True)' in shown
    folder = Path("models/mine")
    assert {path.name for path in folder.iterdir()} == {
        "architecture.svg",
        "config.json",
        "model.safetensors",
        "README.md",
    }
    assert list(folder.parent.iterdir()) == [folder]
    config = json.loads((folder / "config.json").read_text())
    assert (config["num_classes"], config["hybridnas"]["trial"]) == (10, 0)
    model = timm.create_model("local-dir:models/mine", pretrained=True)
    weights = load_file(folder / "model.safetensors")
    assert all(weights[name].equal(value) for name, value in model.state_dict().items())
    score = populated.json("evaluate", "models/mine")
    assert score["num_images"] == 497
    assert f"top1 {score['top1']:.4f}\n" in populated.shown("evaluate", "models/mine")


def test_export_with_all_that_there_is(populated: Cli) -> None:
    shown = populated.shown(
        "export", "shapes:0", "--out", "whole", "--standalone", "--onnx", "--torch-export"
    )
    assert shown.endswith("load it: import whole; whole.create_model()")
    names = {path.name for path in Path("whole").iterdir()}
    assert names >= {"__init__.py", "runtime", "model.onnx", "model.pt2", "README.md"}
    assert populated.json("evaluate", "whole")["num_images"] == 497


def test_a_package_in_another_folder_is_imported_from_there(populated: Cli) -> None:
    Path("models").mkdir()
    shown = populated.shown("export", "shapes:0", "--out", "models/alone", "--standalone")
    assert shown.endswith(
        "load it: import alone; alone.create_model() "
        "(with models as the current folder, or on PYTHONPATH)"
    )


def test_weights_from_elsewhere(cli: Cli) -> None:
    """timm's own MambaOut, under timm's names, computes the same as an export."""
    theirs = timm.create_model("mambaout_femto", num_classes=10).eval()
    torch.save({"state_dict": theirs.state_dict()}, "theirs.pth")
    save_file(theirs.state_dict(), "theirs.safetensors")
    image = torch.rand(1, 3, 64, 64)
    for number, file in enumerate(("theirs.pth", "theirs.safetensors")):
        out = f"model{number}"
        words = f"--weights {file} --num-classes 10 --input-size 64 --crop-pct 0.9 --out {out}"
        cli.shown("export", "mambaout_femto", *words.split())
        ours: Any = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
        with torch.no_grad():
            torch.testing.assert_close(ours(image), theirs(image))
        card = Path(out, "README.md").read_text()
        assert "# mambaout_femto: G3-G3-G9-G3\n" in card
        assert f"the weights are those of the file `{file}`" in card
        assert ours.pretrained_cfg["crop_pct"] == 0.9


def test_weights_that_do_not_fit_are_refused(cli: Cli) -> None:
    torch.save(timm.create_model("resnet18").state_dict(), "resnet.pth")
    torch.save([1, 2], "list.pth")
    torch.save({"head.fc.bias": 3}, "numbers.pth")
    Path("empty.pth").touch()
    torch.save(timm.create_model("mambaout_femto").state_dict(), "femto.pth")
    Path("text.pth").write_text("no weights")
    Path("text.safetensors").write_text("no weights")
    for file, message in (
        ("resnet.pth", "resnet.pth: weights with names such as 'conv1.weight' are of no known"),
        ("list.pth", "list.pth must hold weights by name, got list with other things"),
        ("numbers.pth", "numbers.pth must hold weights by name, got dict with other things"),
        ("empty.pth", "empty.pth holds no weights that can be read (EOFError"),
        ("text.pth", "text.pth holds no weights that can be read"),
        ("text.safetensors", "text.safetensors holds no weights that can be read"),
        ("none.pth", "none.pth cannot be read: No such file"),
    ):
        refused = cli.refused("export", "mambaout_femto", "--weights", file, "--out", "model")
        assert message in refused
    message = "or of other classes: head.fc.weight must be 1000x2304, got 1000x1152 (171 of 172"
    assert message in cli.refused("export", "mambaout_tiny", "--weights", "femto.pth", "--out", "m")


def test_an_untrained_model_takes_the_studys_classes_and_size(populated: Cli) -> None:
    for words, expected in (((), (10, 32)), (("--num-classes", "7"), (7, 32))):
        out = f"model{len(words)}"
        populated.shown("export", "shapes:2", "--untrained", "--out", out, *words)
        config = json.loads(Path(out, "config.json").read_text())
        pretrained = config["pretrained_cfg"]
        assert (config["num_classes"], pretrained["input_size"][-1]) == expected


def test_a_score_that_was_looked_up_has_no_weights(populated: Cli) -> None:
    with Store.open(f"sqlite:///{DATABASE}") as store:
        asked(start(plan(name="second"), store))  # the same proposals, of which some are known
    message = populated.refused("export", "second:2", "--out", "model")
    assert "second:2 has no trained weights (its score was known from a calibration" in message


def test_bad_exports_are_refused(populated: Cli) -> None:
    Path("there").mkdir()
    out = ("--out", "model")
    for words, message in (
        (("shapes:0", "--out", "there"), "there is there already: name a new folder"),
        (("shapes:0", "--out", "hybridnas.db"), "hybridnas.db is there already"),
        (("shapes:0", "--out", "hybridnas.db/x"), "hybridnas.db/x cannot be written: Not a dir"),
        (("shapes:2", *out), "shapes:2 has no trained weights (a study keeps those of its front"),
        (("shapes:3", *out), "say --untrained to export fresh ones"),
        (("mambaout_femto", *out), "mambaout_femto has no trained weights"),
        (
            ("shapes:0", "--num-classes", "3", *out),
            "leave --num-classes, --input-size and --crop-pct out",
        ),
        (("shapes:0",), "Missing option '--out'; see `hybridnas export --help`"),
    ):
        assert message in populated.refused("export", *words)
    assert not Path("model").exists()


def test_bad_evaluations_are_refused(populated: Cli) -> None:
    populated.shown("export", "shapes:0", "--out", "model")
    populated.shown("export", "mambaout_femto", "--untrained", "--out", "fresh")
    for words, message in (
        (("nowhere",), "nowhere is no exported model: config.json and model.safetensors not found"),
        (("fresh",), "fresh does not say what it was trained on: give --data DIR"),
        (("fresh", "--data", "digits"), "fresh knows 1000 classes, but digits has 10"),
        (("model", "--data", "nowhere"), "nowhere does not exist; allowed is 'digits' or"),
        (("model", "--split", "dev"), "digits have no split 'dev'; allowed: train, val, test"),
        (("model", "--task", "tracking"), "unknown task 'tracking'; allowed: classification, "),
        (("model", "--task", "detection"), "model for classification, got --task detection"),
        (("model", "--flip"), "are how segmentation sees an image, not classification"),
        (("model", "--scales", "1,x"), "--scales takes numbers like 0.5,1,1.5, got '1,x'"),
        (("model", "--stride", "3"), "inference: give window and stride, or none of them"),
        (("model", "--device", "tpu9"), "no device 'tpu9' here"),
        (("model", "--batch-size", "0"), "Invalid value for '--batch-size': "),
    ):
        assert message in populated.refused("evaluate", *words)
