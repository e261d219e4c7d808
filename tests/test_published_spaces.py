"""The shipped spaces that start from published designs."""

from __future__ import annotations

import pytest

from hybridnas.reference import REFERENCES
from hybridnas.space import SearchSpace

FAMILIES = {
    "hybrid": "MambaOut",
    "no_ssm": "MambaOut",
    "gated_conv_only": "MambaOut",
    "local_scan": "LocalVMamba",
    "mambavision": "MambaVision",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_space_holds_its_published_family(name: str) -> None:
    loaded = SearchSpace.load(name)
    family = [known for known in REFERENCES.values() if known.family == FAMILIES[name]]
    assert len(family) == {"MambaOut": 10, "LocalVMamba": 2, "MambaVision": 4}[FAMILIES[name]]
    assert all(loaded.contains(known.architecture) for known in family)


def test_vmamba_holds_the_published_ones_and_not_the_first_version() -> None:
    loaded = SearchSpace.load("vmamba")
    found = {name for name, known in REFERENCES.items() if loaded.contains(known.architecture)}
    assert found == {f"vmamba_{n}" for n in ("tiny_s2l5", "tiny_s1l8", "small_s2l15", "base_s2l15")}


def test_local_scan_chooses_four_of_eight_directions_for_every_block() -> None:
    """LocalMamba, arXiv 2403.09338, section 4.2: C(8, 4) = 70 choices a block."""
    loaded = SearchSpace.load("local_scan")
    choices = loaded.genes["stage3.block27.directions"]
    assert len(set(choices)) == 70
    assert all(len(set(str(choice).split(" "))) == 4 for choice in choices)
    blocks = {9: 15, 27: 33}
    assert loaded.size() == 3**4 * sum(70**number for number in blocks.values())
    first, second = (loaded.decode({"stage3.block2.directions": c}) for c in choices[:2])
    differs = [a != b for a, b in zip(first.stages[2].blocks, second.stages[2].blocks, strict=True)]
    assert differs == [False, True, *[False] * 7]
