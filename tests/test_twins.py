"""Twins: what is replaced, by what, and how near the MACs come."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from hybridnas import build
from hybridnas.ablate.twins import (
    TOLERANCE,
    StageMixer,
    backbone_macs,
    places_in,
    replaced,
    twin_of,
    twins_of,
)
from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.cost import cost
from hybridnas.errors import ArchitectureError
from hybridnas.layers.blocks import Gated, MetaFormer
from hybridnas.layers.stems import Patch
from hybridnas.layers.tokens import Tokens
from hybridnas.mixers.attention import Attention
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.mixers.ssm import SSM
from hybridnas.reference import REFERENCES, reference
from hybridnas.space import SearchSpace

SIZE = (224, 224)
TESTED = [name for name, known in REFERENCES.items() if places_in(known.architecture)]
SPACES = ["hybrid", "hybrid_small", "mambavision", "no_ssm", "vmamba"]
FORM = Gated(expansion=2, conv_ratio=0.5, act="silu")
GATED, SCAN = Block(FORM, GatedConv(5)), Block(FORM, SSM(kernel=5, d_state=8))
ATTENTION = Block(MetaFormer(mlp_ratio=2, act="silu"), Attention(head_dim=8))


def check(original: Architecture, size: tuple[int, int]) -> None:
    """All its twins have its MACs, and differ from it where they should only."""
    twins = twins_of(original, size, together=True)
    assert len(twins) == len(places_in(original)) + (len(places_in(original)) > 1)
    for twin in twins:
        whole, own = cost(twin.architecture, size).macs, cost(original, size).macs
        assert abs(whole / own - 1) <= TOLERANCE
        backbone = backbone_macs(twin.architecture, size) / backbone_macs(original, size)
        assert twin.macs_difference == backbone - 1
        assert abs(twin.macs_difference) <= TOLERANCE
        assert replaced(original, twin.architecture) == twin.places
        changed = {place.stage for place in twin.places}
        pairs = zip(original.stages, twin.architecture.stages, strict=True)
        for number, (stage, other) in enumerate(pairs, 1):
            assert (other.width, other.window) == (stage.width, stage.window)
            assert (number in changed) == (other != stage)


@pytest.mark.parametrize("name", TESTED)
def test_references_have_twins_of_equal_macs(name: str) -> None:
    check(reference(name), SIZE)


@pytest.mark.parametrize("name", SPACES)
def test_random_architectures_have_twins_of_equal_macs(name: str) -> None:
    space, rng = SearchSpace.load(name), random.Random(0)
    side = space.spec.input_size
    drawn = [space.sample(rng) for _ in range(50)]
    for architecture in drawn:
        if places_in(architecture):
            check(architecture, (side, side))


def test_a_gated_scan_becomes_the_same_block_without_the_scan() -> None:
    original = Architecture((Stage(32, (SCAN, GATED, SCAN)), Stage(64, (SCAN,))))
    (found,) = twins_of(original, (64, 64), stages=[1])
    first, kept, last = found.architecture.stages[0].blocks
    assert isinstance(first.form, Gated)
    assert first.form == replace(FORM, expansion=first.form.expansion)
    assert (first.mixer, last, kept) == (GatedConv(5), first, GATED)
    assert found.architecture.stages[1] == original.stages[1]
    # What the scan cost is what the wider blocks cost.
    bare = Architecture((Stage(32, (GATED,) * 3), original.stages[1]))
    scans = backbone_macs(original, (64, 64)) - backbone_macs(bare, (64, 64))
    wider = 2 * 32 * 32 * 3 * 16 * 16 * (first.form.expansion - 2)
    assert wider == pytest.approx(scans, rel=0.02)


def test_attention_becomes_the_gated_cnn_of_its_neighbours() -> None:
    original = Architecture((Stage(32, (GATED,)), Stage(64, (SCAN, ATTENTION))))
    (found,) = twins_of(original, (64, 64), mixers=["attention"])
    block = found.architecture.stages[1].blocks[1]
    assert isinstance(block.form, Gated)
    assert (block.form.conv_ratio, block.form.act, block.mixer) == (0.5, "silu", GatedConv(5))


def test_without_neighbours_it_becomes_mambaout_s() -> None:
    original = Architecture((Stage(32, (ATTENTION,)), Stage(64, (ATTENTION,))))
    (found, _) = twins_of(original, (32, 32))
    block = found.architecture.stages[0].blocks[0]
    assert isinstance(block.form, Gated)
    # What both forms have is kept.
    assert block.form == Gated(expansion=block.form.expansion, act="silu")
    assert block.mixer == GatedConv(7)


def test_no_other_width_is_nearer() -> None:
    original = Architecture((Stage(16, (SCAN, SCAN)), Stage(32, (GATED,))))
    (found,) = twins_of(original, (32, 32))
    wanted = backbone_macs(original, (32, 32))

    def distance(hidden: int) -> int:
        block = Block(replace(FORM, expansion=hidden / 16), GatedConv(5))
        twin = replace(original, stages=(Stage(16, (block, block)), original.stages[1]))
        return abs(backbone_macs(twin, (32, 32)) - wanted)

    nearest = min(range(8, 97), key=distance)
    first = found.architecture.stages[0].blocks[0].form
    assert isinstance(first, Gated)
    assert int(first.expansion * 16) == nearest
    assert backbone_macs(found.architecture, (32, 32)) - wanted in (
        distance(nearest),
        -distance(nearest),
    )


def test_dear_attention_becomes_more_blocks_none_too_wide() -> None:
    original = Architecture((Stage(64, (ATTENTION, GATED)), Stage(128, (GATED,))))
    (found,) = twins_of(original, (224, 224))
    blocks = found.architecture.stages[0].blocks
    added = len(blocks) - 1
    assert blocks[-1] == GATED
    assert added > 1
    form = blocks[0].form
    assert isinstance(form, Gated)
    assert form.expansion <= 6
    # With one block less they would be wider than that.
    hidden = form.expansion * added / (added - 1)
    assert hidden > 6


def test_attention_on_huge_maps_has_no_twin() -> None:
    original = Architecture((Stage(64, (ATTENTION,)), Stage(128, (GATED,))))
    with pytest.raises(ArchitectureError, match=r"more than 8 Gated CNN blocks in place of 1"):
        twins_of(original, (512, 2048))


def test_a_twin_that_is_not_near_enough_is_refused() -> None:
    """A cheap attention block of 0.2 x its width, beside neighbours that mix 1.5 x theirs."""
    wide = Block(Gated(expansion=3, conv_ratio=1.5), GatedConv(7))
    thin = Block(MetaFormer(expansion=0.25, mlp_ratio=0), Attention(head_dim=8))
    original = Architecture((Stage(32, (thin,) * 9), Stage(64, (wide,))))
    with pytest.raises(ArchitectureError, match=r"within 1\.5 %: the nearest, .* has \+\d+\.\d %"):
        twins_of(original, (64, 64))


@pytest.mark.parametrize("name", ["vim_tiny", "deit_tiny"])
def test_a_class_token_goes(name: str) -> None:
    original = reference(name)
    (found,) = twins_of(original, SIZE)
    assert isinstance(found.architecture.stem, Tokens)
    assert found.architecture.stem.token_place == "none"
    model = build(found.architecture, num_classes=3).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


def test_which_places_there_are() -> None:
    original = Architecture((Stage(32, (SCAN, ATTENTION)), Stage(64, (GATED,)), Stage(64, (SCAN,))))
    first, second, third = StageMixer(1, "ssm"), StageMixer(1, "attention"), StageMixer(3, "ssm")
    assert places_in(original) == (first, second, third)
    assert places_in(original, ["attention"]) == (second,)
    assert [t.places for t in twins_of(original, (64, 64), stages=[1], together=True)] == [
        (first,),
        (second,),
        (first, second),
    ]
    whole = twin_of(original, places_in(original), (64, 64)).architecture
    assert places_in(whole) == ()
    with pytest.raises(ArchitectureError, match=r"stage 2 of S1A1-G1-S1 has no ssm .*: 1, 3"):
        twins_of(original, (64, 64), stages=[1, 2])
    with pytest.raises(ArchitectureError, match="G1 has no ssm or attention that could be"):
        twins_of(Architecture((Stage(32, (GATED,)),), stem=Patch()), (64, 64))
