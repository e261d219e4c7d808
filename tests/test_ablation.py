"""Ablations from their trainings to the verdicts, under a truth that is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import search_helpers as helpers
from ablation_helpers import MIXED, TRUTH, begin, drive, evaluation, score, set_up_of
from scipy.stats import ttest_rel
from search_helpers import FAILED

from hybridnas.ablate import Ablation, read_ablations
from hybridnas.ablate.setup import Setup, seconds_each
from hybridnas.ablate.twins import StageMixer
from hybridnas.cost import cost
from hybridnas.errors import ConfigError
from hybridnas.search.forecast import Past
from hybridnas.search.trainings import Trainings
from hybridnas.search.view import StudyView
from hybridnas.store import Store

NAME = "shapes.twins-17"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'test.db'}") as opened:
        yield opened


def read(store: Store) -> Ablation:
    (found,) = read_ablations(store, "shapes")
    return found


def test_original_and_twins_share_their_seeds(store: Store) -> None:
    setup = set_up_of(seeds=3, seed=40)
    found = drive(begin(store, setup))
    networks = [setup.original, *(twin.architecture for twin in setup.twins)]
    assert [(c.digest, c.protocol.seed) for c in found] == [
        (network.digest, seed) for seed in (41, 42, 43) for network in networks
    ]
    assert [c.stage for c in found[:2]] == [
        "original, seed 1 of 3",
        "without ssm in stage 1, seed 1 of 3",
    ]
    assert len({helpers.protocol(c).seedless().digest for c in found}) == 1


def test_the_effects_are_those_of_paired_t_tests(store: Store) -> None:
    setup = set_up_of(seeds=6, together=True)
    drive(begin(store, setup))
    found = read(store)
    assert (found.study, found.label, found.metric) == (NAME, "17", "top1")
    assert found.original.architecture == setup.original
    assert [c.places for c in found.comparisons] == [twin.places for twin in setup.twins]
    seeds = range(1, 7)
    own = [score(setup.original, seed) for seed in seeds]
    assert found.original.scores == dict(zip(seeds, own, strict=True))
    for comparison, twin in zip(found.comparisons, setup.twins, strict=True):
        assert comparison.twin.architecture == twin.architecture
        assert comparison.macs_difference == twin.macs_difference
        assert comparison.twin.cost == cost(twin.architecture, 32, "classification", 10)
        theirs = [score(twin.architecture, seed) for seed in seeds]
        low, high = ttest_rel(own, theirs).confidence_interval(1 - 0.05 / 4)
        effect = comparison.effect
        assert effect is not None
        assert (effect.low, effect.high) == pytest.approx((low, high))
        assert effect.value == pytest.approx(np.mean(own) - np.mean(theirs))
        truth = sum(TRUTH[place] for place in comparison.places)
        assert low <= truth <= high


def test_verdicts_are_right(store: Store) -> None:
    drive(begin(store, set_up_of()))
    verdicts = {c.places: c.effect and c.effect.verdict for c in read(store).comparisons}
    assert verdicts == {
        (StageMixer(1, "ssm"),): "original",
        (StageMixer(3, "attention"),): "twin",
        (StageMixer(3, "ssm"),): "unknown",
    }


def test_a_falling_score_is_better(store: Store) -> None:
    drive(begin(store, set_up_of(objectives={"loss": "minimize", "macs": "minimize"})))
    found = read(store)
    assert found.metric == "loss"
    by_place = {c.places[0]: c.effect for c in found.comparisons}
    assert by_place[StageMixer(1, "ssm")].verdict == "original"  # type: ignore[union-attr]
    assert by_place[StageMixer(3, "attention")].verdict == "twin"  # type: ignore[union-attr]


def test_it_goes_on_where_it_was_interrupted(store: Store) -> None:
    setup = set_up_of()
    begun = begin(store, setup)
    for _ in range(7):
        candidate = begun.ask()
        assert candidate is not None
        store.record(candidate.token, evaluation(candidate))
        begun.settle(candidate.number)
    orphan = begun.ask()
    assert orphan is not None
    begun.release()
    partial = read(store)  # what is known so far can be read
    assert sorted(c.effect.seeds for c in partial.comparisons if c.effect) == [1, 2, 2]
    assert len(drive(begin(store, setup))) == 13
    assert store.record(orphan.token, evaluation(orphan)) is None
    assert begin(store, setup).stop_reason == "done"
    assert all(c.effect and c.effect.seeds == 5 for c in read(store).comparisons)


def test_more_seeds_train_only_those(store: Store) -> None:
    drive(begin(store, set_up_of(seeds=2)))
    more = drive(begin(store, set_up_of(seeds=3)))
    assert {c.protocol.seed for c in more} == {3}
    assert len(more) == 4


def test_failed_trainings_take_their_pair_along(store: Store) -> None:
    setup = set_up_of(seeds=3)
    begun = begin(store, setup)
    candidates = list(iter(begun.ask, None))
    first_twin = setup.twins[0].architecture.digest
    for candidate in candidates:
        fails = candidate.digest == first_twin and candidate.protocol.seed == 2
        result = evaluation(candidate, **(FAILED if fails else {}))
        store.record(candidate.token, result)
        begun.settle(candidate.number)
    hurt, *others = read(store).comparisons
    assert (hurt.twin.failed, set(hurt.twin.scores)) == (1, {1, 3})
    assert hurt.effect is not None
    assert hurt.effect.seeds == 2
    assert all(c.effect and c.effect.seeds == 3 for c in others)
    assert begin(store, setup).stop_reason == "done"  # it would fail again


def test_nothing_but_failures_can_be_read(store: Store) -> None:
    begun = begin(store, set_up_of(seeds=2))
    for candidate in iter(begun.ask, None):
        store.record(candidate.token, evaluation(candidate, **FAILED))
        begun.settle(candidate.number)
    found = read(store)
    assert found.original.failed == 2
    assert [comparison.effect for comparison in found.comparisons] == [None] * 3


def test_the_final_retraining_of_a_search_is_taken_over(store: Store) -> None:
    """Its seeds are the same; the search's own seed, which chose the trial, is left out."""
    setup = set_up_of(seeds=3)
    raw = {"space": MIXED, "final": {"retrain": 2, "seeds": 2}, "budget": {"trials": 2}}
    core = helpers.start(helpers.plan(**raw), store)
    while (candidate := core.ask()) is not None:
        store.record(candidate.token, evaluation(candidate))
        core.settle(candidate.number)
    assert setup.original in [row.architecture for row in StudyView("shapes", store).retrained]
    assert len(drive(begin(store, setup))) == 12 - 2
    reused = [t.number for t in store.trials(NAME) if any(run.reused for run in t.runs)]
    assert reused == [0, 4]


def test_every_protocol_is_an_ablation_of_its_own(store: Store) -> None:
    drive(begin(store, set_up_of(seeds=2)))
    longer = set_up_of(seeds=3, fidelities=[{"epochs": 9, "resolution": 32}])
    drive(begin(store, longer))
    short, long = read_ablations(store, "shapes")
    assert (short.protocol.fidelity.epochs, long.protocol.fidelity.epochs) == (1, 9)
    assert [len(found.original.scores) for found in (short, long)] == [2, 3]
    assert all(c.effect and c.effect.family == 3 for c in long.comparisons)


def test_other_studies_have_none(store: Store) -> None:
    drive(begin(store, set_up_of(seeds=2)))
    for other in ("shape", "shapes.twins", "twins-17", NAME):
        assert read_ablations(store, other) == []


def test_its_study_can_be_viewed(store: Store) -> None:
    drive(begin(store, set_up_of(seeds=2)))
    view = StudyView(NAME, store)
    assert len(view.finished) == 8
    assert view.study.description == "twins of 17, under the protocol of shapes"


def test_how_long_a_training_takes(store: Store) -> None:
    setup = set_up_of(seeds=2)

    def each(of: Setup, device: str | None = None) -> float | None:
        return seconds_each(of, Past(store).under(of.plan.protocol, device))

    assert each(setup) is None
    begun = begin(store, setup)
    times = {setup.original.digest: [5.0, 7.0]}
    for candidate in iter(begun.ask, None):
        taken = times.get(candidate.digest, [30.0, 30.0])[candidate.protocol.seed - 1]
        made = evaluation(candidate, timing={"total_s": taken}, machine={"device": "EPYC"})
        store.record(candidate.token, made)
        begun.settle(candidate.number)
        if candidate.number == 2:
            begun.release()
    assert each(setup) == each(setup, "EPYC") == each(setup, "H200") == 6.0
    assert each(set_up_of(seeds=2, fidelities=[{"epochs": 9, "resolution": 32}])) is None
    (quick,) = (job for job in set_up_of(seeds=3).jobs if job.stage == "original, seed 3 of 3")
    work = Trainings(setup.plan.study, store, [quick])
    leased = work.ask()
    assert leased is not None
    made = evaluation(leased, timing={"total_s": 0.5}, machine={"device": "H200"})
    store.record(leased.token, made)
    assert each(setup, "H200") == 0.5  # a CPU's seconds are no GPU's
    assert each(setup, "EPYC") == 6.0


def test_what_has_no_twins_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"together at most 100 characters; .* has 101"):
        set_up_of(name="a" * 92)
    with pytest.raises(ConfigError, match=r"start from w\.pth, which twins cannot.*init=none"):
        set_up_of(init="w.pth")
