"""Spaces whose networks all have the same MACs."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
from search_helpers import genomes

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.cost import cost
from hybridnas.counting import in_size
from hybridnas.equal_macs import TOLERANCE, EqualMacs, check_step
from hybridnas.errors import ArchitectureError, SpaceError
from hybridnas.layers.blocks import MetaFormer
from hybridnas.mixers.attention import Attention
from hybridnas.profiling.pieces import pieces_in
from hybridnas.space import SearchSpace

MIXERS = ["gated_conv", "ssm", "attention"]
BLOCKS = {
    "gated_conv": {"form": "gated"},
    "ssm": {"form": "gated", "d_state": 1},
    "attention": {"form": "metaformer", "expansion": None, "num_heads": 2},
}
HEADS_OF_16 = {"mixer": "attention", "form": "metaformer", "expansion": None, "head_dim": 16}


def two_stages(*, blocks: dict[str, Any] = BLOCKS, widths: Any = (16, 32), **equal: Any) -> Any:
    stages = [{"depth": 2, "width": width, "mixer": MIXERS} for width in widths]
    wanted = {"macs": 8.0e6, "resolution": 32, "step": 2, **equal}
    common = {"name": "pairs", "input_size": 32, "head": "linear"}
    return {**common, "stages": stages, "blocks": blocks, "equal_macs": wanted}


def backbone_macs(architecture: Architecture, size: int) -> int:
    known = cost(architecture, size)
    return known.macs - known.head.macs


def test_all_81_layouts_have_the_same_macs_and_are_told_apart() -> None:
    space = SearchSpace.load("layouts81")
    every = list(genomes(space))
    assert len(every) == space.size() == 81
    assert len({space.decode(genome).digest for genome in every}) == 81
    for genome in every:
        architecture = space.decode(genome)
        assert backbone_macs(architecture, 64) == pytest.approx(3.6e7, rel=TOLERANCE)
        assert space.encode(architecture) == genome
        assert all(stage.width % 8 == 0 for stage in architecture.stages)
        assert [stage.depth for stage in architecture.stages] == [2, 2, 6, 2]


def test_widths_are_the_most_proportional_of_all_that_have_the_macs() -> None:
    space = SearchSpace.load(two_stages())
    for genome in genomes(space):
        found = space.decode(genome)
        distortions = {}
        for pair in itertools.product(range(2, 80, 2), range(2, 140, 2)):
            stages = [replace(s, width=w) for s, w in zip(found.stages, pair, strict=True)]
            off = backbone_macs(replace(found, stages=tuple(stages)), 32) / 8.0e6 - 1
            if abs(off) <= TOLERANCE:
                distortions[pair] = abs(math.log(pair[1] / pair[0] / 2))
        first, second = found.stages
        assert distortions[first.width, second.width] == min(distortions.values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"widths": (16, [32, 64])}, r"equal_macs scales widths.* stage 2 has \[32, 64\]"),
        ({"step": 64}, r"steps of 64 come within 0.75 % of 8e\+06 MACs at 32 px"),
        ({"macs": -1}, r"equal_macs\.macs"),
        ({"steps": 8}, r"equal_macs\.steps"),
        (
            {"blocks": {**BLOCKS, "gated_conv": HEADS_OF_16}},
            r"stage 1, gated_conv .*equal_macs in steps of 2: .*head_dim 16.*step of 16$",
        ),
    ],
)
def test_what_cannot_be_scaled_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        SearchSpace.load(two_stages(**change))


def test_a_space_is_refused_when_it_is_loaded_where_one_layout_cannot_be_scaled() -> None:
    layouts = two_stages()
    assert SearchSpace.load(layouts).size() == 9
    layouts["stages"][1]["depth"] = [2, 400]  # more MACs at any width
    with pytest.raises(SpaceError, match=r"no widths of .*400"):
        SearchSpace.load(layouts)


def test_a_step_that_one_choice_among_many_cannot_keep_is_refused_when_the_space_is_loaded() -> (
    None
):
    """Of thousands of architectures two hundred are scaled; none of them need have the choice."""
    layouts = two_stages(widths=(32, 64), step=8)
    attention = {"form": "metaformer", "expansion": None}
    layouts |= {"blocks": {**BLOCKS, "attention": attention}}
    layouts["options"] = {"head_dim": [4, 32], "kernel": [3, 5, 7], "mlp_ratio": [2, 3, 4]}
    words = r"stage 1, attention with .*head_dim 32.*equal_macs in steps of 8: .*a step of 32$"
    with pytest.raises(SpaceError, match=words):
        SearchSpace.load(layouts)


@pytest.mark.parametrize("step", [2, 8, 12, 24, 64])
@pytest.mark.parametrize(
    "mixer", [Attention(num_heads=3), Attention(head_dim=4), Attention(head_dim=16)]
)
@pytest.mark.parametrize("expansion", [None, 0.5, 8 / 3])
def test_a_step_is_refused_exactly_where_some_width_cannot_be_built(
    step: int, mixer: Attention, expansion: float | None
) -> None:
    block = Block(MetaFormer(expansion=expansion), mixer)

    def built(step: int) -> bool:
        try:
            return all(Stage(step * n, (block,)) for n in range(1, 60))
        except ArchitectureError:
            return False

    wanted = EqualMacs(1e7, 32, step)
    if built(step):
        check_step(block, 48, wanted)
        return
    least = next((n * step for n in range(2, 65) if built(n * step)), None)
    with pytest.raises(ArchitectureError, match=f"allowed is a step of {least}$"):
        check_step(block, 48, wanted)


def test_a_space_without_widths_of_its_own_has_no_latency_table() -> None:
    with pytest.raises(SpaceError, match="scales widths"):
        pieces_in(SearchSpace.load(two_stages()), (32, 32))


def test_sizes_of_spaces_are_counted_in_full_while_they_are_small() -> None:
    sizes = [in_size(number) for number in (81, 2916, 999_999, 1_000_000)]
    assert sizes == ["81", "2,916", "999,999", "1.00e+06"]


def test_a_network_is_scaled_by_a_few_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []

    def noted(*given: Any) -> Any:
        counted.append(given)
        return cost(*given)

    space = SearchSpace.load("layouts81")
    monkeypatch.setattr("hybridnas.equal_macs.cost", noted)
    space.layout({"stage3.mixer": "attention"})
    assert len(counted) < 60  # of 5 ** 4 combinations of widths
