"""`hybridnas ablate`, its trainings made up in this process instead of by Ray's workers."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import search_helpers as helpers
from ablation_helpers import MIXED, evaluation
from cli_helpers import DATABASE, Cli, files, write_study
from trainings_helpers import Made, make_up

from hybridnas.ablate import read_ablations
from hybridnas.architecture import Architecture
from hybridnas.config import parse_study
from hybridnas.cost import cost
from hybridnas.search.plan import make_plan
from hybridnas.space import SearchSpace
from hybridnas.store import Store

pytest_plugins = ["cli_helpers"]

LADDER = [{"epochs": 1, "resolution": 32}, {"epochs": 4, "resolution": 32}]
RAW = {**helpers.RAW, "space": MIXED, "fidelities": LADDER, "budget": {"trials": 2}}


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> Made:
    return make_up(monkeypatch, evaluation)


@pytest.fixture(scope="module")
def _search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a search of two trials, S1-G1-S1A1."""
    path = tmp_path_factory.mktemp("searched") / DATABASE
    with Store.open(f"sqlite:///{path}") as store:
        core = helpers.start(make_plan(parse_study(RAW, "test")), store)
        while (candidate := core.ask()) is not None:
            store.record(candidate.token, evaluation(candidate))
            core.settle(candidate.number)
    return path


@pytest.fixture
def searched(cli: Cli, _search: Path) -> Cli:
    """The command line in a folder with that database."""
    shutil.copy(_search, DATABASE)
    return cli


def test_it_prints_and_keeps_the_verdicts(searched: Cli, made_up: Made) -> None:
    found = searched.json("ablate", "shapes:0")
    assert made_up.done == 20
    assert found["study"] == "shapes.twins-0"
    assert (found["metric"], found["family"], found["confidence"]) == ("top1", 3, 0.95)
    assert found["fidelity"]["epochs"] == 4  # the study's top
    first, second, third = found["twins"]
    (place,) = first["replaced"]
    assert (place["stage"], place["mixer"], place["tokens"]) == (1, "ssm", 64)
    assert place["long_sequence_ratio"] == pytest.approx(64 / 6 / width_of(found["original"]))
    assert [twin["verdict"] for twin in (first, second, third)] == ["original", "unknown", "twin"]
    assert first["effect"]["low"] > 0
    assert "20 trainings, all known" in searched.shown("ablate", "shapes:0", "--dry-run")
    again = searched("ablate", "shapes:0")
    assert again.err == "20 trainings, all known\n", "and not once more that they were done before"
    shown = again.out
    assert made_up.done == 20
    for twin in found["twins"]:
        assert twin["words"] in shown
    assert "stage 1: the SSM adds " in shown
    assert "stage 3: Gated CNN is better by " in shown
    assert "95 % for all 3 together (Bonferroni)" in shown
    assert "seeds that would: for 80 % power\n" in shown
    with Store.open(f"sqlite:///{DATABASE}") as store:
        (kept,) = read_ablations(store, "shapes")
    assert {str(seed): v for seed, v in kept.original.scores.items()} == found["original"]["scores"]


def test_the_front_says_what_a_twin_test_found(searched: Cli) -> None:
    member = searched.json("pareto", "shapes")[0]
    trial, score = member["trial"], member["values"]["top1"]
    assert "trained anew" not in searched.shown("pareto", "shapes")
    found = searched.json("ablate", f"shapes:{trial}", "--seeds", "2", "--stages", "1")
    mean = sum(found["original"]["scores"].values()) / 2
    shown = searched.shown("pareto", "shapes")
    said = f"trial {trial}, trained anew for its twin test with 2 seeds, has top1 {mean:.4f} on "
    flatters = ": the score above, which it was chosen by, flatters" * (mean < score)
    assert shown.splitlines()[-1] == f"{said}average{flatters}"
    longer = ("--seeds", "2", "--stages", "1", "--epochs", "7")
    searched.json("ablate", f"shapes:{trial}", *longer)
    assert searched.shown("pareto", "shapes") == shown, "of another training than it was chosen by"


def test_a_front_is_shown_beside_a_twin_test_of_a_later_version(searched: Cli) -> None:
    shown = searched.shown("pareto", "shapes")
    searched.json("ablate", "shapes:0", "--seeds", "2", "--stages", "1")
    assert searched.shown("pareto", "shapes") != shown
    with sqlite3.connect(DATABASE) as database:
        set_later = "update nas_study set config = json_set(config, '$.later', 1) where name = ?"
        database.execute(set_later, ("shapes.twins-0",))
    assert searched.shown("pareto", "shapes") == shown


def width_of(network: dict[str, Any]) -> int:
    """Of the first stage of what was compared."""
    with Store.open(f"sqlite:///{DATABASE}") as store:
        text = store.architecture_json(network["arch"])
    assert text is not None
    return Architecture.from_json(text).stages[0].width


def test_what_is_tested_can_be_chosen(searched: Cli, made_up: Made) -> None:
    words = ("ablate", "shapes:0", "--seeds", "2")
    (twin,) = searched.json(*words, "--stages", "1")["twins"]
    assert [place["stage"] for place in twin["replaced"]] == [1]
    assert made_up.done == 4
    searched.json(*words, "--mixer", "attention")
    assert made_up.done == 6  # the original is known
    found = searched.json(*words, "--together")
    assert made_up.done == 10
    # One family: whoever tests more must be surer of each.
    assert [len(twin["replaced"]) for twin in found["twins"]] == [1, 1, 1, 3]
    assert {twin["effect"]["family"] for twin in found["twins"]} == {4}


def test_at_another_fidelity(searched: Cli, made_up: Made) -> None:
    words = ("ablate", "shapes:0", "--seeds", "2", "--stages", "1")
    assert searched.json(*words, "--rung", "1")["fidelity"]["epochs"] == 1
    assert searched.json(*words, "--epochs", "7")["fidelity"]["epochs"] == 7
    assert made_up.done == 8


def test_ctrl_c_and_the_same_words_go_on(searched: Cli, made_up: Made) -> None:
    made_up.left = 7
    done = searched("ablate", "shapes:0", "--json")
    assert (done.code, done.out) == (130, "")
    assert done.err.endswith("interrupted; the same command goes on\n")
    made_up.left = 1000
    done = searched("ablate", "shapes:0", "--json")
    assert "20 trainings, 7 known; one takes about 12 s" in done.err
    assert made_up.done == 20
    assert all(twin["effect"]["seeds"] == 5 for twin in json.loads(done.out)["twins"])


def test_a_dry_run_says_what_there_is_and_writes_nothing(searched: Cli, made_up: Made) -> None:
    before = files().keys()
    found = searched.json("ablate", "shapes:0", "--seeds", "3", "--dry-run", "--together")
    assert (found["trainings"], found["known"], found["seconds_each"]) == (15, 0, 12.0)
    assert found["seconds_to_begin"] is None
    assert found["hours"] == pytest.approx(math.ceil(15 / found["at_once"]) * 12 / 3600)
    assert found["seeds"] == [1, 2, 3]
    for twin in found["twins"]:
        network = Architecture.from_dict(twin["network"])
        assert twin["macs"] == cost(network, 32, num_classes=10).macs
        assert twin["macs"] == pytest.approx(found["original"]["macs"], rel=0.015)
    shown = searched.shown("ablate", "shapes:0", "--dry-run")
    assert "shapes.twins-0 would train, at 4 epochs at 32 px (nothing was written)" in shown
    assert "stage 1, ssm: width " in shown
    assert "20 trainings, 0 known; one takes about 12 s" in shown
    assert "at once, Ray's start left aside" in shown
    assert made_up.done == 0
    assert files().keys() == before
    with Store.open(f"sqlite:///{DATABASE}") as store:
        assert store.study_names() == ["shapes"]


def test_the_forecast_has_what_passes_before_the_first_training(searched: Cli) -> None:
    with Store.open(f"sqlite:///{DATABASE}") as store:
        for _ in range(2):
            store.end_session(store.begin_session("shapes"), "trials")
    with sqlite3.connect(DATABASE) as rows:
        # One whose first training, that of helpers, began after 20 s; and one before all of them.
        for number, (begin, end) in enumerate([(20, -100), (90, 30)], 1):
            at = [
                str((helpers.START - timedelta(seconds=s)).replace(tzinfo=None))
                for s in (begin, end)
            ]
            rows.execute(
                "UPDATE nas_session SET started_at = ?, last_seen_at = ? WHERE id = ?",
                (*at, number),
            )
    words = ("ablate", "shapes:0", "--seeds", "2", "--stages", "1", "--dry-run")
    found = searched.json(*words)
    assert found["seconds_to_begin"] == 20
    waves = math.ceil(4 / found["at_once"])
    assert found["hours"] == pytest.approx((20 + waves * 12) / 3600)
    assert "at once, 20 s of it before the first begins" in searched.shown(*words)


def test_what_is_known_needs_no_machine(searched: Cli, made_up: Made) -> None:
    words = ("ablate", "shapes:0", "--seeds", "2", "--stages", "1")
    known = searched.json(*words)
    too_much = ("--set", "resources.cpus=4096")
    assert searched.json(*words, *too_much) == known
    assert made_up.done == 4
    assert "asks for 4096 CPUs" in searched.refused(*words[:2], "--seeds", "3", *too_much)


def test_a_reference_under_a_study_s_protocol(cli: Cli, made_up: Made) -> None:
    """Without any database; the study is a file."""
    name = write_study(space=MIXED)
    words = ("ablate", "caformer_s18", "--study", name, "--stages", "4", "--seeds", "2")
    shown = cli.shown(*words, "--dry-run")
    assert "4 trainings, 0 known; how long one takes is not known yet" in shown
    assert not Path(DATABASE).exists()
    found = cli.json(*words)
    assert found["study"] == "shapes.twins-caformer_s18"
    assert found["original"]["stages"] == "C3-C3-A9-A3"
    assert made_up.done == 4
    stage = {"width": 16, "blocks": [{"form": "gated", "mixer": "ssm"}]}
    Path("mine.json").write_text(json.dumps({"stages": [stage, stage]}), encoding="utf-8")
    found = cli.json("ablate", "mine.json", "--study", name, "--seeds", "2", "--stages", "2")
    assert found["study"] == f"shapes.twins-{found['original']['arch']}"


def test_a_trial_under_another_study_s_protocol(searched: Cli) -> None:
    name = write_study(space=MIXED, name="other", seed=7)
    words = ("ablate", "shapes:0", "--study", name, "--seeds", "2", "--stages", "1")
    found = searched.json(*words, "--set", "recipe.lr=0.01")
    assert found["study"] == "other.twins-shapes-0"
    assert set(found["original"]["scores"]) == {"8", "9"}


def test_another_task_of_the_study(cli: Cli, made_up: Made) -> None:
    """It has a training of its own, an objective, and seeds that the study's own task has, too."""
    five = {"name": "classification", "data": "digits", "num_classes": 5}
    name = write_study(
        space=MIXED,
        also={"five": {"task": five, "fidelities": [{"epochs": 3, "resolution": 32}]}},
        objectives={"top1": "maximize", "five.loss": "minimize", "macs": "minimize"},
    )
    Path("mixed.json").write_text(SearchSpace.load(MIXED).decode({}).to_json(), encoding="utf-8")
    words = ("ablate", "mixed.json", "--study", name, "--seeds", "2", "--stages", "1")
    own, other = cli.json(*words), cli.json(*words, "--task", "five")
    assert made_up.done == 8
    assert (own["metric"], other["metric"]) == ("top1", "loss")
    assert other["study"] == f"{own['study']}.five"
    assert other["fidelity"]["epochs"] == 3
    assert other["original"]["params"] < own["original"]["params"]  # five classes
    message = cli.refused(*words, "--task", "six")
    assert message == "--task: study 'shapes' has no task 'six' besides its own; it has: five"


def test_the_name_of_another_architecture_s_twins_is_refused(searched: Cli) -> None:
    searched.json("ablate", "shapes:0", "--seeds", "2", "--stages", "1")
    with Store.open(f"sqlite:///{DATABASE}") as store:
        own, other = (store.trials("shapes")[number].architecture_digest for number in (0, 1))
        config = store.study_config("shapes.twins-0")
        assert config is not None
        store.put_study("shapes.twins-1", config)
        store.lease("shapes.twins-1", 0, own, store.trials("shapes.twins-0")[0].protocol_digest)
    message = searched.refused("ablate", "shapes:1", "--dry-run")
    assert message.startswith(
        f"'shapes.twins-1' in the database is about architecture {own}, not {other}"
    )


def test_fresh_seeds_under_another_name(searched: Cli) -> None:
    words = ("ablate", "shapes:0", "--seeds", "2", "--stages", "1")
    searched.json(*words)
    found = searched.json(*words, "--set", "name=confirm", "--set", "seed=1000")
    assert found["study"] == "confirm.twins-shapes-0"
    assert set(found["original"]["scores"]) == {"1001", "1002"}


def test_the_forest_plot(searched: Cli) -> None:
    pytest.importorskip("matplotlib")
    words = ("ablate", "shapes:0", "--seeds", "2", "--together")
    done = searched(*words, "--plot", "effects.svg")
    assert done.code == 0, done.err
    text = Path("effects.svg").read_text(encoding="utf-8")
    for label in ("stage 3, ssm", "stages 1 and 3 together", "top1 in favour of the"):
        assert f"<!-- {label}" in text


def test_what_cannot_be_ablated_is_refused(searched: Cli) -> None:
    for words, message in (
        (("shapes:9",), "study 'shapes' has no trial 9; it has 0 to 1"),
        (("shapes:0", "--stages", "2"), "stage 2 of S1-G1-S1A1 has no ssm or attention; those"),
        (("shapes:0", "--stages", "one"), "--stages takes numbers apart by commas, like 1,3; got"),
        (("shapes:0", "--seeds", "1"), "Invalid value for '--seeds': must be greater than or "),
        (("shapes:0", "--mixer", "conv"), "Invalid value for '--mixer'"),
        (("shapes:0", "--rung", "3"), "--rung takes 1 to 2 of study 'shapes', got 3"),
        (("shapes:0", "--rung", "1", "--epochs", "2"), "give --epochs or --rung, not both"),
        (("vmamba_v0_tiny",), "vmamba_v0_tiny is of no study: say whose data and training it is"),
        (("mambaout_tiny", "--study", "shapes"), "G3-G3-G9-G3 has no ssm or attention that coul"),
        (("shapes:0", "--plot", "effects.txt"), "--plot takes a file in .svg, .png, .pdf, got 'e"),
        (("shapes:0", "--study", "nothing"), "no study 'nothing'"),
    ):
        assert searched.refused("ablate", *words).startswith(message)
