"""What `hybridnas table show` says where noise is not known, or hides all."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from cli_helpers import Cli

pytest_plugins = ["cli_helpers"]


def made_up(scores: Sequence[Sequence[float]]) -> str:
    """A table of two decisions with two choices each, a column a seed; its file."""
    seeds = [f"seed{number}" for number in range(len(scores[0]))]
    lines = [",".join(["first", "second", "macs", *seeds])]
    for (one, two), row in zip(itertools.product("ab", "xy"), scores, strict=True):
        lines.append(",".join([one, two, "5", *map(str, row)]))
    Path("made.csv").write_text("\n".join(lines))
    card: dict[str, Any] = {
        "name": "made",
        "genes": ["first", "second"],
        "costs": ["macs"],
        "metric": "top1",
    }
    card |= {"fidelities": [{"scores": seeds}], "reference": {"top1": 0}}
    Path("made.yaml").write_text(yaml.safe_dump(card))
    return "made.csv"


def test_with_one_seed_nothing_is_a_fact(cli: Cli) -> None:
    told = cli.shown("table", "show", made_up([[0.5], [0.6], [0.7], [0.79999]]))
    assert "standard deviation between architectures 0.1291, seeds' noise in it" in told
    assert "that noise is not known, and it is in all of these figures" in told
    assert "explain" not in told
    assert "+-" not in told
    assert "│ first and second │ 0.0 % │" in told


def test_where_noise_hides_all_there_are_no_shares(cli: Cli) -> None:
    told = cli.shown("table", "show", made_up([[0.5, 0.7], [0.7, 0.5], [0.6, 0.6], [0.55, 0.65]]))
    assert "standard deviation between architectures 0.0000 (seeds' noise taken off)" in told
    assert "it hides any difference that there is" in told
    assert "explain" not in told
    assert re.search(r"│ first │ - │ 1 +│", told), "no share, but a test"
    assert "-0.0000 " not in told
    assert "+0.0000 [-" in told
