"""Decisions that change nothing: by brute force over tiny spaces, and where one is told of them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_helpers import Cli, write_study
from test_space import TINY, A, C, S, genomes, space, stage

from hybridnas.network import HybridNet
from hybridnas.resources import shipped
from hybridnas.space import SearchSpace
from hybridnas.space_idle import idle_decisions

pytest_plugins = ["cli_helpers"]

NOBODY = "changes nothing: no block that it is for takes it"
SEVERAL = "has several words for one choice"
PER_BLOCK = {"d_state": {"values": [1, 4], "per": "block"}}
IDLE: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "one block": (
        space(stage(C, 1, second_half=["same", S]), stage([C, A]), d_state=[1, 4]),
        {
            "stage1.second_half": "changes nothing: the stage has one block",
            "stage1.d_state": NOBODY,
        },
    ),
    "one block, mirrored": (
        space(stage([C, S], 1, second_half=[C, S])),
        {"stage1.second_half": "changes nothing: the stage has one block"},
    ),
    "of the network": (space(stage(C, 1, second_half=S), d_state={1, 4}), {"d_state": NOBODY}),
    "of a block": (
        {**space(stage(C, second_half=S)), "options": PER_BLOCK},
        {"stage1.block1.d_state": NOBODY},
    ),
    "the only mixer": (
        space(stage(C, second_half=["same", C])),
        {"stage1.second_half": "changes nothing: all of its choices mean the same"},
    ),
    "one too many": (
        space(stage(C, [1, 3], second_half=["same", C, S])),
        {"stage1.second_half": f"{SEVERAL}: gated_conv means the same as same"},
    ),
    "none": (space(stage([C, S], [1, 3], second_half=["same", C, S])), {}),
}
DOWNSAMPLES = {"downsample": ["conv_norm", "norm_conv"]}


def alike(loaded: SearchSpace, name: str) -> bool:
    """Whether two choices of a decision make the same network, whatever the others are."""
    made: dict[object, list[object]] = {value: [] for value in loaded.genes[name]}
    for genome in genomes(loaded):
        made[genome[name]].append(loaded.decode(genome))
    return any(one == other for one, other in itertools.combinations(made.values(), 2))


@pytest.mark.parametrize("case", IDLE)
def test_what_changes_nothing_and_why(case: str) -> None:
    raw, expected = IDLE[case]
    assert idle_decisions(SearchSpace.load(raw).spec) == expected


@pytest.mark.parametrize("raw", [raw for raw, _ in (*IDLE.values(), *TINY.values())])
def test_against_brute_force(raw: dict[str, Any]) -> None:
    loaded = SearchSpace.load(raw)
    if len(loaded.genes) <= 8:
        assert [*idle_decisions(loaded.spec)] == [n for n in loaded.genes if alike(loaded, n)]


def test_nothing_stands_between_stages_where_there_is_one() -> None:
    one, two = (SearchSpace.load(space(*[stage(C)] * n) | DOWNSAMPLES) for n in (1, 2))
    assert idle_decisions(one.spec) == {"downsample": "changes nothing: there is one stage"}
    assert idle_decisions(two.spec) == {}
    for loaded, different in ((one, False), (two, True)):
        shown = {
            str(HybridNet(loaded.decode({"downsample": name}), num_classes=2))
            for name in loaded.genes["downsample"]
        }
        assert (len(shown) > 1) is different


@pytest.mark.parametrize("name", shipped("search_spaces"))
def test_shipped_spaces_have_none(name: str) -> None:
    assert idle_decisions(SearchSpace.load(name).spec) == {}


def test_the_commands_tell(cli: Cli) -> None:
    raw, idle = IDLE["one block"]
    Path("mine.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    shown = cli.shown("spaces", "show", "mine.yaml")
    assert f"decision stage1.d_state {NOBODY}" in shown
    assert cli.json("spaces", "show", "mine.yaml")["idle"] == idle
    study = write_study(space="mine.yaml", constraints={})
    assert f"decision stage1.d_state {NOBODY}" in cli.shown("search", study, "--dry-run")
    assert cli.json("search", study, "--dry-run")["idle"] == idle
    assert "nothing" not in cli.shown("spaces", "show", "hybrid_small")
