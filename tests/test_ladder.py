"""A study's ladder of fidelities: what a rung is, what it costs, which images it sees."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from cli_helpers import Cli, write_study
from search_helpers import LISTED, RAW, genomes, plan, start

from hybridnas.cli.common import fidelity_words
from hybridnas.config import Fidelity, Protocol, Recipe, Task, parse_study
from hybridnas.cost import cost
from hybridnas.data import open_split
from hybridnas.errors import ConfigError
from hybridnas.evaluate import evaluate
from hybridnas.search.ladder import ladder
from hybridnas.search.observer import Silent
from hybridnas.search.plan import rung_protocol
from hybridnas.search.searcher import StudySearcher
from hybridnas.store import Store
from hybridnas.tasks import TASKS
from hybridnas.train import EpochRecord

pytest_plugins = ["cli_helpers"]

SHORT = {"epochs": 2, "resolution": 64, "share": 0.25}
SMALL = {"epochs": 3, "resolution": 32}
FULL = {"epochs": 3, "resolution": 64}


def digest(**fidelity: Any) -> str:
    study = parse_study({**RAW, "fidelities": [{"epochs": 1, "resolution": 32, **fidelity}]}, "x")
    return study.protocol("d", ("a",)).digest


def test_rungs_rise_in_cost_and_the_top_one_counts() -> None:
    found = parse_study({**RAW, "fidelities": [SHORT, SMALL, FULL]}, "x")
    assert len(found.fidelities) == 3
    assert found.fidelity == Fidelity(epochs=3, resolution=64)
    assert found.protocol("d", ("a", "b")).fidelity == found.fidelity


@pytest.mark.parametrize(("per_batch", "is_said"), [(1.8, True), (1.05, False), (2, False)])
def test_images_that_full_batches_leave_out_are_said(
    per_batch: float, is_said: bool, cli: Cli
) -> None:
    """Of 4/9, of 1/21, and of none."""
    there = len(open_split(Task(data="digits"), "train"))
    size = round(there / per_batch)
    left = there - size * (there // size)
    assert (left > 0.1 * there) == is_said
    file = write_study(recipe={"batch_size": size})
    shown = " ".join(cli.shown("search", file, "--dry-run").split())
    words = f"each epoch leaves out {left:,} of {there:,} images, others each time, since batches"
    assert shown.count(words) == is_said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"fidelities": [{**SMALL, "share": 0}]},
            r"fidelities.0.share: must be greater than 0",
        ),
        (
            {"task": {"name": "detection", "data": "x"}, "fidelities": [SHORT]},
            r"fidelities: share is of classification only, not detection",
        ),
        (
            {"fidelities": [{**SMALL, "iterations": 5}, FULL]},
            r"fidelities: give iterations for every rung, or for none",
        ),
    ],
)
def test_what_is_no_ladder(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_study({**RAW, **changes}, "x")


def test_iterations_decide_where_they_are_given() -> None:
    short = {**FULL, "epochs": 9, "iterations": 10}
    found = parse_study({**RAW, "fidelities": [short, {**FULL, "iterations": 20}]}, "x")
    assert found.fidelity.iterations == 20
    made = plan(fidelities=[short])
    assert ladder(made)[0].images == 10 * made.study.recipe.batch_size


def test_a_training_by_iterations_is_said_to_be_one() -> None:
    assert fidelity_words(Fidelity(epochs=1, resolution=64)) == "1 epoch at 64 px"
    for iterations, words in ((4000, "4,000"), (16000, "16,000")):
        found = Fidelity(epochs=127, resolution=512, iterations=iterations)
        assert fidelity_words(found) == f"{words} iterations at 512 px"


def test_a_training_by_iterations_says_how_many_epochs_it_takes() -> None:
    made = plan(fidelities=[{"epochs": 9, "resolution": 16, "iterations": 9}])
    architecture = made.space.decode(next(iter(genomes(made.space))))
    told: list[EpochRecord] = []
    evaluate(architecture, made.protocol, device="cpu", on_epoch=told.append)
    assert [(record.epoch, record.num_epochs) for record in told] == [(1, 2), (2, 2)]


def test_a_search_passes_it_on(tmp_path: Path) -> None:
    class Told(Silent):
        epochs: ClassVar[list[tuple[int, int]]] = []

        def epoch(self, number: int, done: int, total: int, loss: float, where: str) -> None:
            self.epochs.append((done, total))

    with Store.open(f"sqlite:///{tmp_path / 'test.db'}") as store:
        core = start(plan(fidelities=[{"epochs": 9, "resolution": 16, "iterations": 9}]), store)
        core.observer = Told()
        searcher = StudySearcher(core)
        searcher.suggest("first")
        searcher.on_trial_result("first", {"epoch": 1, "num_epochs": 2, "loss": 1.0})
    assert Told.epochs == [(1, 2)]


def test_a_whole_share_is_what_was_there_before_shares() -> None:
    assert digest() == digest(share=1.0) != digest(share=0.5)


def test_a_rung_states_images_times_macs() -> None:
    made = plan(space=LISTED, fidelities=[SHORT, SMALL, FULL])
    rungs = ladder(made)
    for rung in rungs:
        protocol = rung_protocol(made, rung.fidelity)
        train = TASKS["classification"].loaders(protocol, torch.device("cpu"), 0).train
        assert rung.images == rung.fidelity.epochs * len(train) * train.batch_size
    assert rungs[0].macs == rungs[2].macs > rungs[1].macs
    decoded = (made.space.decode(genome) for genome in genomes(made.space))
    every = [cost(architecture, 64, num_classes=10).macs for architecture in decoded]
    assert np.quantile(every, 0.4) < rungs[2].macs < np.quantile(every, 0.6)
    assert rungs[2].image_macs == rungs[2].images * rungs[2].macs


def test_a_rung_s_protocol_differs_in_fidelity_and_seed_alone() -> None:
    made = plan(fidelities=[SMALL, FULL], seed=5)
    low = rung_protocol(made, made.study.fidelities[0])
    assert low == made.protocol.model_copy(update={"fidelity": made.study.fidelities[0]})
    assert rung_protocol(made, made.study.fidelity) == made.protocol
    assert rung_protocol(made, made.study.fidelity, 7).seed == 7


def test_a_share_of_every_class_is_always_the_same_and_nested() -> None:
    whole = open_split(Task(), "train")
    few, more = whole.part(0.1), whole.part(0.3)
    assert whole.part(1.0) is whole
    for share, part in ((0.1, few), (0.3, more)):
        for name, number in part.counts().items():
            assert number == math.ceil(share * whole.counts()[name])
    pixels = [[np.asarray(p.read(i)).tobytes() for i in range(len(p))] for p in (few, more, whole)]
    assert set(pixels[0]) < set(pixels[1]) < set(pixels[2])
    place = {image: i for i, image in enumerate(pixels[2])}
    assert [place[image] for image in pixels[1]] == sorted(place[image] for image in pixels[1])
    assert pixels[1] != pixels[2][: len(pixels[1])]
    assert whole.part(0.3).labels.tolist() == more.labels.tolist()


def test_training_sees_its_share_and_scoring_everything() -> None:
    fidelity = Fidelity(epochs=1, resolution=16, share=0.2)
    protocol = Protocol(task=Task(), recipe=Recipe(batch_size=1), fidelity=fidelity)
    loaders = TASKS["classification"].loaders(protocol, torch.device("cpu"), 0)
    assert len(loaders.train) == len(open_split(Task(), "train").part(0.2))
    assert sum(len(labels) for _, labels in loaders.val) == len(open_split(Task(), "val"))


def test_the_dry_run_states_each_rung_s_cost(cli: Cli) -> None:
    name = write_study(fidelities=[SMALL, FULL])
    low, high = cli.json("search", name, "--dry-run")["fidelities"]
    assert (low["epochs"], low["share"], high["resolution"]) == (3, 1.0, 64)
    assert low["images"] == high["images"] == 3 * (1000 // 128) * 128, "the rest is left out"
    assert low["image_macs"] < high["image_macs"]
    shown = cli.shown("search", name, "--dry-run")
    assert "3 epochs at 32 px, batches of 128: 2,688 images x " in shown


@pytest.mark.parametrize("wrong", [[FULL, SMALL], [SMALL, SMALL]])
def test_a_ladder_that_does_not_rise_is_refused(cli: Cli, wrong: list[dict[str, Any]]) -> None:
    message = cli.refused("search", write_study(fidelities=wrong), "--dry-run")
    assert "fidelities.1: a rung must cost more (epochs x share x resolution^2)" in message
