"""The scripts that compare networks on a test split: their statistics, and one whole run."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from scipy import stats
from search_helpers import SIX

from hybridnas.cost import cost
from hybridnas.errors import DataError, HybridnasError, SpaceError
from hybridnas.space import SearchSpace

Right = NDArray[np.float64]
SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def paired(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("paired_test")


def test_holm_by_hand(paired: ModuleType) -> None:
    # Sorted 0.01, 0.02, 0.04: times 3, 2, 1, never falling.
    assert paired.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert paired.holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_error_is_that_of_each_source_of_chance_alone(paired: ModuleType) -> None:
    rng = np.random.default_rng(0)
    # Seeds agree on each image: the paired t of images.
    one, two = (np.tile(rng.random(300) < skill, (3, 1)).astype(float) for skill in (0.6, 0.5))
    (found,) = paired.differences({"one": one, "two": two}, [("one", "two")])
    images = stats.ttest_rel(one[0], two[0])
    assert found.p == pytest.approx(images.pvalue)
    assert (found.low, found.high) == pytest.approx(images.confidence_interval())
    # Images are all alike within a seed: Welch's t of seeds.
    one, two = (np.tile(rng.normal(size=(4, 1)), (1, 200)) for _ in range(2))
    (found,) = paired.differences({"one": one, "two": two}, [("one", "two")])
    welch = stats.ttest_ind(one[:, 0], two[:, 0], equal_var=False)
    assert found.p == pytest.approx(welch.pvalue)
    assert (found.low, found.high) == pytest.approx(welch.confidence_interval())


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.4])
def test_intervals_hold_the_truth_at_their_rate(paired: ModuleType, spread: float) -> None:
    rng = np.random.default_rng(1)
    wrong, seen = [], []
    for _ in range(200):
        hard = rng.normal(size=600)  # the same images for all

        def network(skill: float, hard: Right = hard) -> Right:
            seeds = skill + spread * rng.normal(size=(3, 1))
            chance = 1 / (1 + np.exp(-(seeds + hard + rng.normal(size=600))))
            return (rng.random((3, 600)) < chance).astype(float)

        right = {"a": network(0), "b": network(0), "c": network(0), "best": network(3)}
        *same, better = paired.differences(right, [("a", "b"), ("a", "c"), ("best", "a")])
        wrong.append(any(not each.low <= 0 <= each.high for each in same))
        seen.append(better.low > 0)
    assert np.mean(wrong) <= 0.08
    assert np.mean(seen) > 0.8


def test_one_seed_is_refused(paired: ModuleType) -> None:
    right = {"a": np.ones((1, 5)), "b": np.ones((2, 5))}
    with pytest.raises(ValueError, match="two seeds"):
        paired.differences(right, [("a", "b")])


def test_layouts_made_by_hand_are_named_by_their_choices(paired: ModuleType) -> None:
    script = importlib.import_module("compare_on_test")
    words = "layouts81:gated_conv,gated_conv,ssm,attention"
    assert script.network_named(words, "").short == "G2-G2-S6-A2"
    assert script.network_named("caformer_s18", "").short.endswith("A9-A3")
    with pytest.raises(
        SpaceError, match=r"stage3\.mixer is one of gated_conv, ssm, attention, got"
    ):
        script.network_named(words.replace("ssm", "scan"), "")
    with pytest.raises(SpaceError, match=r"decisions of layouts81 are stage1\.mixer, "):
        script.network_named("layouts81:ssm,ssm", "")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--found", "a=x", "--hand", "a=y"], "two networks are called 'a'"),
        (["--seeds", "1"], "--seeds: a comparison needs two or more of each network, got 1"),
        (["--json", "nowhere/out.json"], "--json nowhere/out.json: there is no folder nowhere"),
    ],
)
def test_what_would_be_refused_at_the_end_is_at_the_beginning(
    paired: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    words: str,
) -> None:
    script = importlib.import_module("compare_on_test")
    monkeypatch.setattr(sys, "argv", ["compare_on_test", "quickstart", *given])
    with pytest.raises(SystemExit):
        script.options()
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", [None, "", '{"answers": {"a"', '{"networks": {}}', "[]", '{"answers": ["1"]}']
)
def test_a_file_without_answers_is_refused(
    paired: ModuleType, tmp_path: Path, text: str | None
) -> None:
    script = importlib.import_module("compare_on_test")
    file = tmp_path / "known.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataError, match=r"known\.json: no answers that --json has kept"):
        script.read_answers([file])


def test_a_training_that_fails_costs_no_other_one(
    paired: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = importlib.import_module("compare_on_test")

    def answers(job: tuple[int, str, str]) -> list[bool]:
        if job[0] == 0:
            raise HybridnasError("no room")
        return [True]

    monkeypatch.setattr(script, "answers", answers)
    monkeypatch.setattr(
        script, "ProcessPoolExecutor", lambda number, **_: ThreadPoolExecutor(number)
    )
    monkeypatch.setattr(script, "key_of", lambda number, _: f"{number}")
    given = argparse.Namespace(split="test", processes=1)
    runs = {("net", seed): (seed,) for seed in range(3)}
    found: list[str] = []
    with pytest.raises(HybridnasError, match="no room"):
        found.extend(key for _, key, _ in script.trained(runs, {}, given))
    assert sorted(found) == ["1", "2"]


@pytest.mark.slow
def test_a_whole_comparison_on_digits(
    paired: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = importlib.import_module("compare_on_test")
    space = SearchSpace.load(SIX)
    network = space.decode({"stage1.width": 8, "stage1.mixer": "ssm"})
    (tmp_path / "ssm.json").write_text(network.to_json())
    (tmp_path / "six.yaml").write_text(yaml.safe_dump(SIX))
    words = ["quickstart", "--found", f"ssm={tmp_path}/ssm.json", "--seeds", "2", "--split", "val"]
    words += [
        "--hand",
        f"cnn={tmp_path}/six.yaml:8,gated_conv",
        "--epochs",
        "1",
        "--processes",
        "1",
    ]
    out = tmp_path / "out.json"
    setting = ["--set", "task.per_class=5", "--set", "fidelities=[{epochs: 1, resolution: 16}]"]
    monkeypatch.setattr(sys, "argv", ["compare_on_test", *words, *setting, "--json", str(out)])
    script.main()
    found = json.loads(out.read_text())
    assert {row["stages"] for row in found["networks"].values()} == {"S1", "G1"}
    size, costs = cost(network, 16, num_classes=10), found["networks"]["ssm"]
    assert (costs["macs"], costs["params"]) == (size.macs, size.params), "of ten digits"
    (only,) = found["differences"]
    scores = {name: row["test_top1"] for name, row in found["networks"].items()}
    assert only["better"] == pytest.approx(scores["ssm"] - scores["cnn"])
    assert only["low"] <= only["better"] <= only["high"]
    assert "ssm - cnn:" in capsys.readouterr().out
    answers = found["answers"]
    told = sorted(score for row in found["networks"].values() for score in row["by_seed"])
    assert told == sorted(
        np.mean([digit == "1" for digit in digits]) for digits in answers.values()
    )
    # Half of it from another machine's file: nothing is trained again.
    first, *others = answers
    out.write_text(json.dumps({"answers": {first: answers[first]}}))
    (tmp_path / "other.json").write_text(json.dumps({"answers": {k: answers[k] for k in others}}))
    monkeypatch.setattr(script, "ProcessPoolExecutor", None)
    sys.argv += ["--known", str(tmp_path / "other.json")]
    script.main()
    assert json.loads(out.read_text()) == found
