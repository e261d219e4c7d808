"""What decisions do to a score at equal MACs, and their importance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import search_helpers as helpers
from scipy.stats import linregress, t

from hybridnas.report import importance
from hybridnas.report.choices import possible_choices, read_choices
from hybridnas.report.decisions import decision_facts
from hybridnas.report.effects import CONFIDENCE, FEWEST, choice_effects
from hybridnas.report.importance import FEWEST_TRIALS, PARTS, best_share, importance_facts
from hybridnas.search.view import StudyView
from hybridnas.space import SearchSpace
from hybridnas.store import Store


def made(n: int, shares: tuple[float, ...], seed: int, noise: float = 0.01) -> Any:
    """Scores that grow with MACs, of choices that go with MACs; what each choice adds."""
    draw = np.random.default_rng(seed)
    choice = draw.choice(len(shares), n, p=shares)
    macs = 15 + draw.normal(size=n) + 0.5 * choice
    added = np.array([0.0, 0.02, -0.01])[: len(shares)]
    score = 0.5 + 0.05 * macs - 0.002 * (macs - 15) ** 2 + added[choice]
    return score + noise * draw.normal(size=n), macs, [f"c{i}" for i in choice], added


def test_two_choices_are_a_regression_on_what_macs_leave() -> None:
    """Frisch-Waugh-Lovell: residuals of score and choice on the parabola, then one slope."""
    scores, macs, choices, _ = made(40, (0.6, 0.4), 1)
    first, second = choice_effects(scores, macs, choices)
    z = (macs - macs.mean()) / macs.std()
    parabola = np.vander(z, 3)

    def rest(y: np.ndarray) -> np.ndarray:
        return y - parabola @ np.linalg.lstsq(parabola, y, rcond=None)[0]

    member = np.array([choice == "c1" for choice in choices], dtype=float)
    slope = linregress(rest(member), rest(scores))
    left = len(scores) - 4  # of 3 of the parabola and 1 of the slope; linregress took 2 off
    error = slope.stderr * np.sqrt((len(scores) - 2) / left)
    half = t.isf((1 - CONFIDENCE) / 2, left) * error / 2
    assert (first.choice, second.choice) == ("c0", "c1")
    assert second.value == pytest.approx(slope.slope / 2)
    assert first.value == pytest.approx(-slope.slope / 2)
    assert (second.low, second.high) == pytest.approx(
        (slope.slope / 2 - half, slope.slope / 2 + half)
    )
    assert second.p == pytest.approx(2 * t.sf(abs(slope.slope) / error, left))
    assert first.trials + second.trials == len(scores)


def test_without_noise_the_effects_are_the_truth() -> None:
    scores, macs, choices, added = made(60, (0.5, 0.3, 0.2), 2, noise=0.0)
    found = choice_effects(scores, macs, choices)
    assert [e.value for e in found] == pytest.approx(list(added - added.mean()), abs=1e-9)


def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = total = 0
    for seed in range(400):
        scores, macs, choices, added = made(45, (0.4, 0.3, 0.3), seed)
        for effect in choice_effects(scores, macs, choices):
            truth = added[int(effect.choice[1])] - added.mean()
            held += effect.low <= truth <= effect.high
            total += 1
    error = np.sqrt(CONFIDENCE * (1 - CONFIDENCE) / 400)  # three effects of a draw go together
    assert total == 1200
    assert held / total == pytest.approx(CONFIDENCE, abs=3 * error)


def test_where_nothing_can_be_told_there_is_nothing() -> None:
    scores, macs, choices, _ = made(40, (0.5, 0.5), 3)
    assert choice_effects(scores, macs, ["c0"] * 40) == []
    assert choice_effects(scores, macs, [None] * 40) == []
    rare = ["c0"] * (40 - FEWEST + 1) + ["c1"] * (FEWEST - 1)
    assert choice_effects(scores, macs, rare) == []
    by_size = np.array([1.0 if choice == "c1" else 0.0 for choice in choices])
    assert choice_effects(scores, by_size, choices) == [], "MACs alone tell the choices apart"
    assert choice_effects(scores[:7], macs[:7], ["c0", "c1"] * 3 + ["c0"]) == []


def test_trials_that_a_decision_does_not_reach_count_for_nothing() -> None:
    scores, macs, choices, _ = made(40, (0.5, 0.5), 4)
    blank = [None if i % 4 == 0 else choice for i, choice in enumerate(choices)]
    kept = [i for i in range(40) if i % 4]
    assert choice_effects(scores, macs, blank) == choice_effects(
        scores[kept], macs[kept], [choices[i] for i in kept]
    )


def test_numbers_stand_by_their_size() -> None:
    scores, macs, _, _ = made(40, (0.5, 0.5), 5)
    found = choice_effects(scores, macs, ["16", "8", "128", "h"] * 10)
    assert [effect.choice for effect in found] == ["8", "16", "128", "h"]


# ---------------------------------------------------------------- importance


def test_what_decides_is_important() -> None:
    draw = np.random.default_rng(0)
    first, second = draw.integers(0, 3, 200), draw.integers(0, 3, 200)
    losses = first + 0.1 * draw.random(200)
    choices = {"first": [str(c) for c in first], "second": [str(c) for c in second]}
    found = importance_facts(losses, choices)
    assert [each.decision for each in found] == ["first", "second"]
    assert sum(each.share for each in found) == pytest.approx(1)
    assert found[0].share > 0.9
    assert found[0].error < 0.1
    assert importance_facts(losses[: FEWEST_TRIALS - 1], choices) == ()


@pytest.mark.parametrize(
    ("trials", "share"), [(20, 0.25), (50, 0.1), (5000, 0.1), (4, 0.5), (0, 0.5)]
)
def test_at_least_five_trials_are_the_best(trials: int, share: float) -> None:
    assert best_share(trials) == share


def test_decisions_are_read_off_architectures(tmp_path: Any) -> None:
    plan = helpers.plan(space=helpers.LISTED, budget={"trials": 12})
    with Store.open(f"sqlite:///{tmp_path / 'x.db'}") as store:
        helpers.drive(helpers.start(plan, store))
        view = StudyView("shapes", store)
    rows, choices = read_choices(plan.space, view.finished)
    assert len(rows) == 12
    for i, row in enumerate(rows):
        for stage in (1, 2):
            block = row.architecture.stages[stage - 1].blocks[0]
            assert choices[f"stage{stage}.mixer"][i] == block.mixer_name
            kernel = choices[f"stage{stage}.kernel"][i]
            assert (kernel is None) == (block.mixer_name == "attention")
    assert possible_choices(plan.space, choices).keys() == choices.keys()
    attending = [
        row for row, kernel in zip(rows, choices["stage1.kernel"], strict=True) if not kernel
    ]
    assert 0 < len(attending) < 12
    _, fewer = read_choices(plan.space, attending)
    possible = possible_choices(plan.space, fewer)
    assert choices.keys() - possible.keys() == {"stage1.kernel"}
    assert possible["stage1.mixer"] == ["gated_conv", "ssm", "attention"]
    six = SearchSpace.load(helpers.SIX)  # an earlier space of the study, of one stage
    assert read_choices(six, view.finished)[0] == []


CHANGING: dict[str, Any] = {
    **helpers.COMMON,
    "name": "changing",
    "stages": [
        {
            "depth": [1, 2],
            "width": [8, 16],
            "mixer": ["gated_conv", "ssm"],
            "second_half": ["same", "gated_conv", "ssm", "attention"],
        }
    ],
}


def test_the_mixers_of_a_stage_are_one_decision(tmp_path: Any) -> None:
    plan = helpers.plan(space=CHANGING, budget={"trials": 16})  # all there are
    with Store.open(f"sqlite:///{tmp_path / 'x.db'}") as store:
        helpers.drive(helpers.start(plan, store))
        view = StudyView("shapes", store)
    rows, choices = read_choices(plan.space, view.finished)
    assert [*choices] == ["stage1.depth", "stage1.width", "stage1.mixers"]
    for row, chosen in zip(rows, choices["stage1.mixers"], strict=True):
        names = dict.fromkeys(b.mixer_name for b in row.architecture.stages[0].blocks)
        assert chosen == " then ".join(names)
    possible = possible_choices(plan.space, choices)
    assert set(possible["stage1.mixers"]) == set(choices["stage1.mixers"])
    assert len(possible["stage1.mixers"]) == 6


def test_every_choice_has_an_effect_or_a_reason() -> None:
    scores, macs, chosen, _ = made(60, (0.5, 0.3, 0.2), 2)
    rare = ["r0"] * 58 + ["r1"] * 2

    class Made:
        def __init__(self, score: float, macs: float) -> None:
            self.known = {"top1": score, "macs": np.exp(macs)}

        def value(self, name: str) -> float:
            return float(self.known[name])

    rows: Any = [Made(*pair) for pair in zip(scores, macs, strict=True)]
    possible = {"first": ["c0", "c1", "c2", "c3"], "second": ["r0", "r1"]}
    found = decision_facts(rows, {"first": chosen, "second": rare}, possible, "top1")
    assert [(e.decision, e.choice) for e in found.effects] == [
        ("first", choice) for choice in ("c0", "c1", "c2")
    ]
    assert (found.judged, found.unjudged, found.clear) == (1, 1, ("first",))
    left = [(c.decision, c.choice, c.trials) for c in found.rare]
    assert left == [("first", "c3", 0), ("second", "r1", 2)]
    assert [(c.choice, c.trials) for c in found.untold] == [("r0", 58)]


def searched(seed: int, trials: int) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Losses that three of four decisions change."""
    draw = np.random.default_rng(seed)
    picks = draw.integers(0, 3, (4, trials))
    losses = np.array([0.5, 0.35, 0.2, 0.0]) @ picks + draw.normal(size=trials)
    return losses, {f"d{i}": [str(c) for c in each] for i, each in enumerate(picks)}


@pytest.mark.parametrize(("size", "factor"), [(75, 1.0), (50, 0.5**0.5)])
def test_errors_of_importances_are_the_spread_between_parts(
    size: int, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importance, "_LARGEST", size)
    losses, choices = searched(1, 150)
    draw = np.random.default_rng(0)
    shares = []
    for _ in range(PARTS):
        part = np.flatnonzero(draw.permutation(150) < size)
        chosen = {name: [each[i] for i in part] for name, each in choices.items()}
        found = importance_facts(losses[part], chosen)
        shares.append({each.decision: each.share for each in found})
    for each in importance_facts(losses, choices):
        spread = np.std([part[each.decision] for part in shares], ddof=1)
        assert each.error == pytest.approx(factor * spread)


def test_errors_of_importances_are_those_between_searches() -> None:
    """What a share varies by from one made-up search to another, roughly."""
    found = [importance_facts(*searched(seed, 150)) for seed in range(40)]
    by_name = [{each.decision: each for each in facts} for facts in found]
    for name in ("d0", "d1", "d2"):
        spread = np.std([facts[name].share for facts in by_name], ddof=1)
        assert 0.6 < np.mean([facts[name].error for facts in by_name]) / spread < 1.3
