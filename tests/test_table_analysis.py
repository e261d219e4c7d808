"""What a table says: against nested least squares, made-up effects, and repeated draws."""

from __future__ import annotations

import itertools
from collections import Counter
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


def parts_of_all(means: Floats) -> dict[tuple[int, ...], Floats]:
    """By any axes the part of the means that they make beyond all fewer of them."""
    found: dict[tuple[int, ...], Floats] = {}
    for chosen in (c for n in range(5) for c in itertools.combinations(range(means.ndim), n)):
        others = tuple(axis for axis in range(means.ndim) if axis not in chosen)
        fewer = [part for axes, part in found.items() if set(axes) < set(chosen)]
        found[chosen] = np.asarray(means.mean(axis=others, keepdims=True)) - sum(fewer)
    return found


def test_four_decisions_are_taken_apart_as_the_full_decomposition_does() -> None:
    genes = {"a": (0, 1, 2), "b": (0, 1), "c": (0, 1, 2), "d": (0, 1, 2, 3)}
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(72, 1)) + 0.3 * rng.normal(size=(72, 3))
    found = analyse(made(scores, genes=genes))
    means = scores.mean(axis=1).reshape(3, 2, 3, 4)
    error = scores.var(axis=1, ddof=1).mean() / 3
    squares, freedom = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for axes, part in parts_of_all(means).items():
        if axes:
            names = tuple("abcd"[axis] for axis in axes) if len(axes) < 3 else ()
            squares[names] += (part**2).mean() * 72
            freedom[names] += np.prod([means.shape[axis] - 1 for axis in axes])
    total = sum(squares.values()) - 71 * error
    assert [term.genes for term in found.terms] == list(squares)
    for term in found.terms:
        chance = freedom[term.genes] * error
        assert term.share == pytest.approx((squares[term.genes] - chance) / total)
        p = stats.f.sf(squares[term.genes] / chance, freedom[term.genes], 72 * 2)
        assert term.p == pytest.approx(p)


def test_many_decisions_take_no_longer_than_their_pairs() -> None:
    """Of 2^13 terms 91 are told apart; signs of the choices are orthogonal, so shares are known."""
    names = [f"g{i}" for i in range(13)]
    signs = np.array(list(itertools.product((-1, 1), repeat=13)))
    one, pair = 0.6 * signs[:, 0], 0.3 * signs[:, 1] * signs[:, 2]
    triple = 0.2 * signs[:, 3] * signs[:, 4] * signs[:, 5]
    found = analyse(made((one + pair + triple)[:, None], genes=dict.fromkeys(names, (0, 1))))
    shares = {term.genes: term.share for term in found.terms}
    assert len(shares) == 13 + 78 + 1
    assert shares.pop(("g0",)) == pytest.approx(0.36 / 0.49)
    assert shares.pop(("g1", "g2")) == pytest.approx(0.09 / 0.49)
    assert shares.pop(()) == pytest.approx(0.04 / 0.49)
    assert np.abs(list(shares.values())).max() < 1e-12


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
