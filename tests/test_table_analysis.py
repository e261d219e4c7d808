"""What a table says: against nested least squares, made-up effects, and repeated draws."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from hybridnas.errors import ConfigError
from hybridnas.objectives import Direction
from hybridnas.parts import Option
from hybridnas.tables import Table, Trainings
from hybridnas.tables.analysis import analyse, rank_of

Floats = NDArray[np.float64]
GENES = {"first": ("a", "b", "c"), "second": (1, 2), "third": ("x", "y", "z")}
ROWS = np.array(list(itertools.product(range(3), range(2), range(3))))


def made(scores: Floats, genes: Mapping[str, Sequence[Option]] = GENES, **kind: Direction) -> Table:
    rows = np.array(list(itertools.product(*(range(len(v)) for v in genes.values()))))
    costs = {"macs": np.ones(len(rows))}
    direction = kind.get("direction", "maximize")
    return Table(
        "made", genes, rows, costs, [Trainings(1.0, scores)], "top1", direction, {}, {"top1": 0}
    )


def one_hot(*axes: int) -> Floats:
    """Columns for every combination of the choices on these axes."""
    keys = [tuple(row[list(axes)]) for row in ROWS]
    kinds = sorted(set(keys))
    return np.array([[float(key == kind) for kind in kinds] for key in keys])


def unexplained(values: Floats, *designs: Floats) -> float:
    design = np.hstack([np.ones((len(ROWS), 1)), *designs])
    return float(((values - design @ np.linalg.lstsq(design, values, rcond=None)[0]) ** 2).sum())


def test_shares_and_tests_are_those_of_nested_least_squares() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(18, 1)) + 0.5 * rng.normal(size=(18, 4))
    found = analyse(made(scores))
    means = scores.mean(axis=1)
    error = scores.var(axis=1, ddof=1).mean() / 4
    total = unexplained(means) - 17 * error
    by_genes = {term.genes: term for term in found.terms}
    main = [one_hot(axis) for axis in range(3)]
    names = list(GENES)
    freedoms = {names[0]: 2, names[1]: 1, names[2]: 2}
    for axis, name in enumerate(names):
        others = [design for i, design in enumerate(main) if i != axis]
        squares = unexplained(means, *others) - unexplained(means, *main)
        df = freedoms[name]
        assert by_genes[name,].share == pytest.approx((squares - df * error) / total)
        p = stats.f.sf(squares / df / error, df, 18 * 3)
        assert by_genes[name,].p == pytest.approx(p)
    for one, two in itertools.combinations(range(3), 2):
        pairs = [one_hot(*pair) for pair in itertools.combinations(range(3), 2)]
        without = [one_hot(*p) for p in itertools.combinations(range(3), 2) if p != (one, two)]
        squares = unexplained(means, *without, *main) - unexplained(means, *pairs)
        df = freedoms[names[one]] * freedoms[names[two]]
        term = by_genes[names[one], names[two]]
        assert term.share == pytest.approx((squares - df * error) / total)
    assert sum(term.share for term in found.terms) == pytest.approx(1)
    assert found.additive == pytest.approx(sum(by_genes[n,].share for n in names))
    assert found.noise == pytest.approx(np.sqrt(4 * error))
    assert found.spread == pytest.approx(np.sqrt(total / 17))


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_additive_effects_come_out_as_they_went_in(direction: Direction, sign: int) -> None:
    by_gene = {"first": [0.3, 0.0, -0.3], "second": [0.1, -0.1], "third": [0.0, 0.05, -0.05]}
    values = np.array([sum(e[c] for e, c in zip(by_gene.values(), r, strict=True)) for r in ROWS])
    found = analyse(made(values[:, None] + 0.5, direction=direction))
    assert found.additive == pytest.approx(1)
    assert found.noise is None
    assert {term.p for term in found.terms} == {None}
    effects = {(e.gene, e.choice): e.better for e in found.effects}
    for gene, choices in GENES.items():
        for choice, effect in zip(choices, by_gene[gene], strict=True):
            assert effects[gene, choice] == pytest.approx(sign * effect)
    assert {effect.margin for effect in found.effects} == {None}
    best = {"first": "a" if sign > 0 else "c", "second": 1 if sign > 0 else 2}
    table = made(values[:, None], direction=direction)
    assert rank_of(table, {**best, "third": "y" if sign > 0 else "z"}) == 1
    worst = {"first": "c" if sign > 0 else "a", "second": 2 if sign > 0 else 1}
    assert rank_of(table, {**worst, "third": "z" if sign > 0 else "y"}) == 18


def test_intervals_hold_all_effects_at_once_and_noise_alone_is_no_spread() -> None:
    rng = np.random.default_rng(1)
    truth = np.where(ROWS[:, 0] == 0, 0.2, -0.1)
    held, significant, spreads = [], [], []
    for _ in range(400):
        found = analyse(made(truth[:, None] + rng.normal(scale=0.3, size=(18, 3))))
        expected = {("first", "a"): 0.2, ("first", "b"): -0.1, ("first", "c"): -0.1}
        held.append(
            all(
                e.margin is not None
                and abs(e.better - expected.get((e.gene, str(e.choice)), 0.0)) <= e.margin
                for e in found.effects
            )
        )
        significant.append(next(t.p for t in found.terms if t.genes == ("second",)))
        spreads.append(analyse(made(rng.normal(scale=0.3, size=(18, 3)))).spread)
    assert np.mean(held) >= 0.94  # Bonferroni: 95 % or more
    assert np.mean(np.array(significant) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(spreads) < 0.1


def test_a_table_of_one_architecture_is_refused() -> None:
    with pytest.raises(ConfigError, match="one architecture"):
        analyse(made(np.ones((1, 2)), genes={"only": (1,)}))
