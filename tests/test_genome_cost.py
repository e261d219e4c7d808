"""Costs and meanings of genomes, counted without building networks: against those that build."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from latency_helpers import table_of
from search_helpers import LISTED, genomes

from hybridnas.cost import cost
from hybridnas.parts import Option
from hybridnas.search.genome_cost import GenomeCost
from hybridnas.space import Genome, SearchSpace
from hybridnas.space_spec import SAME

SPACES = ["hybrid_small", "hybrid", "local_scan", "vmamba", "mambavision"]


def drawn(space: SearchSpace, number: int = 60) -> list[Genome]:
    rng = random.Random(1)
    return [space.random_genome(rng) for _ in range(number)]


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("task", ["classification", "segmentation", "detection"])
def test_a_genome_costs_what_its_architecture_costs(name: str, task: str) -> None:
    space = SearchSpace.load(name)
    size, head_width = (64, 128), None if task == "classification" else 96
    cost_of = GenomeCost(space, size, task, 11, head_width)
    for genome in [*drawn(space), *drawn(space)]:  # twice: also what is remembered
        known = cost(space.decode(genome), size, task, 11, head_width=head_width)
        assert cost_of(genome) == {"macs": known.macs, "params": known.params}


def test_its_latency_is_the_tables() -> None:
    windows = {**LISTED, "stages": [{**stage, "window": [None, 4]} for stage in LISTED["stages"]]}
    space, table = SearchSpace.load(windows), table_of(windows)
    cost_of = GenomeCost(space, (32, 32), "classification", 10, None, table)
    for genome in drawn(space):
        known = table.latency_ms(space.decode(genome))
        assert cost_of(genome)["latency_ms"] == pytest.approx(known, rel=1e-12)


@pytest.mark.parametrize("name", SPACES)
def test_kinds_of_block_are_those_that_are_built(name: str) -> None:
    space = SearchSpace.load(name)
    mixers = {kind: known.mixer for kind, known in space.spec.kinds.items()}
    for genome in drawn(space):
        counted: Counter[type] = Counter()
        for kind, number in space.kinds(genome):
            counted[mixers[kind]] += number
        built = Counter(
            type(b.mixer) for stage in space.decode(genome).stages for b in stage.blocks
        )
        assert +counted == built


@pytest.mark.parametrize("name", SPACES)
def test_categories_are_those_of_the_network_itself(name: str) -> None:
    """What `encode` reads off an architecture, with -1 where a gene is not to be seen in it."""
    space = SearchSpace.load(name)
    for genome in drawn(space, 15):
        categories = dict(zip(space.genes, space.categories(genome), strict=True))
        encoded = space.encode(space.decode(genome))
        for gene, values in space.genes.items():
            if categories[gene] >= 0:
                assert values[categories[gene]] == encoded[gene]
            else:
                assert all(same_network(space, genome, gene, value) for value in values)


def same_network(space: SearchSpace, genome: Genome, gene: str, value: Option) -> bool:
    return space.decode({**genome, gene: value}) == space.decode(genome)


def test_categories_are_equal_exactly_for_equal_networks() -> None:
    """All genomes of a space whose stages may end in another mixer than they begin with."""
    stage = {"depth": [1, 2, 3], "width": [8], "mixer": ["gated_conv", "ssm"]}
    space = SearchSpace.load(
        {
            **LISTED,
            "stages": [{**stage, "second_half": [SAME, "ssm", "attention"]}],
            "options": {
                "kernel": {"values": [3, 5]},
                "d_state": {"values": [1, 4], "per": "block"},
                "mlp_ratio": {"values": [2, 3], "per": "network"},
            },
        }
    )
    of: dict[tuple[int, ...], str] = {}
    for genome in genomes(space):
        digest = space.decode(genome).digest
        assert of.setdefault(space.categories(genome), digest) == digest
    assert len(of) == len(set(of.values())) == space.size()
