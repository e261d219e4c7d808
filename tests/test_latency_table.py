"""Latency tables: a network is the sum of its pieces."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_helpers import Cli
from latency_helpers import KnownTimer, block_ms, known_latency, setting, table_of
from search_helpers import LISTED, SIX

import hybridnas
from hybridnas.errors import ConfigError, HybridnasError
from hybridnas.profiling import load_table, make_table, setting_for, stopwatch
from hybridnas.profiling.pieces import blocks, group, pieces_in, pieces_of
from hybridnas.profiling.tabulate import choose, fit_line
from hybridnas.profiling.timing import Effort
from hybridnas.resources import shipped

pytest_plugins = ["cli_helpers"]

SOME = ["mambaout_femto", "caformer_s18", "vmamba_tiny_s1l8", "vim_tiny", "mambavision_tiny"]


@pytest.mark.parametrize("name", SOME)
def test_the_pieces_are_the_network(name: str) -> None:
    """All its parameters, nothing twice; each piece takes what the one before gives."""
    architecture = hybridnas.reference(name)
    total, x = 0, torch.empty(2, 3, 64, 64, device="meta")
    for piece, often in pieces_of(architecture, (64, 64)):
        with torch.device("meta"):
            module = piece.build(1000)
        total += often * sum(parameter.numel() for parameter in module.parameters())
        x = _step(piece.kind, piece.input_shape(2), x, module)
    assert x.shape == (2, 1000)
    assert total == hybridnas.cost(architecture, 64).params


def _step(kind: str, wanted: tuple[int, ...], x: torch.Tensor, module: torch.nn.Module):  # type: ignore[no-untyped-def]
    if kind == "head" and len(wanted) == 3:
        x = x.squeeze(1)
    if kind == "block" and x.shape != wanted:  # cut into windows: the map itself goes on
        module(torch.empty(wanted, device="meta"))
        return x
    assert x.shape == wanted
    return module(x)


# local_scan has too many pieces to list here, layouts81 no widths of its own.
@pytest.mark.parametrize(
    "name", sorted(shipped("search_spaces").keys() - {"local_scan", "layouts81"})
)
def test_a_space_has_every_piece_of_its_networks(name: str) -> None:
    space, rng = hybridnas.SearchSpace.load(name), random.Random(0)
    size = (space.spec.input_size,) * 2
    known = {piece.key for piece in pieces_in(space, size)}
    for _ in range(20):
        assert {piece.key for piece, _ in pieces_of(space.sample(rng), size)} <= known


def test_every_piece_is_timed_once_and_the_sum_is_the_network() -> None:
    space = hybridnas.SearchSpace.load(LISTED)
    timer = KnownTimer(setting())
    table = make_table(space, timer, networks=12)
    assert len(timer.timed) == len(set(timer.timed)) == len(table.pieces) == table.num_measured
    assert [table.scale, table.offset_ms] == pytest.approx([1.5, 0.3])
    assert table.estimate_error is None
    good = table.accuracy
    assert good.networks == 8
    assert min(good.spearman, good.kendall) == pytest.approx(1)
    assert good.median_error < 1e-9
    assert good.within_10_percent == 1
    rng = random.Random(1)
    for architecture in (space.sample(rng) for _ in range(20)):
        assert table.latency_ms(architecture) == pytest.approx(known_latency(architecture))


# One stage of SSM blocks with 4 widths x 3 x 3 x 3 options: 108 of them.
SCANS = {
    "name": "scans",
    "input_size": 32,
    "head": "linear",
    "blocks": {"ssm": {"form": "gated"}},
    "stages": [{"depth": [1, 2, 3], "width": [16, 32, 48, 64], "mixer": ["ssm"]}],
    "options": {
        "kernel": {"values": [3, 5, 7]},
        "expansion": {"values": [1, 2, 3]},
        "directions": {"values": ["h", "h h_flip", "h v h_flip v_flip"]},
    },
}


def test_what_is_not_timed_is_estimated() -> None:
    space, timer = hybridnas.SearchSpace.load(SCANS), KnownTimer(setting())
    table = make_table(space, timer, max_blocks=60, networks=12)
    found = pieces_in(space, (32, 32))
    assert len(blocks(timer.timed)) == 60
    assert table.num_measured == 60 + len(found) - len(blocks(found))
    assert table.estimate_error is not None
    assert table.estimate_error < 0.03
    timed = {piece.key for piece in timer.timed}
    guessed = [piece for piece in found if piece.key not in timed]
    assert len(guessed) == 108 - 60
    errors = [abs(table.pieces[piece.key] / block_ms(piece) - 1) for piece in guessed]
    assert np.median(errors) < 0.03
    assert table.accuracy.within_10_percent == 1


def test_nothing_is_timed_for_a_table_that_cannot_be() -> None:
    listed = hybridnas.SearchSpace.load(LISTED)
    groups = Counter(map(group, blocks(pieces_in(listed, (32, 32)))))
    fewest = sum(min(number, 3) for number in groups.values())
    assert fewest < sum(groups.values())
    timer = KnownTimer(setting())
    for number in (1, fewest - 1):
        with pytest.raises(ConfigError, match=rf"^{number} timed .*'listed' .* {fewest} or more$"):
            make_table(listed, timer, max_blocks=number, networks=6)
    with pytest.raises(HybridnasError, match="too small to check a table on 7 different"):
        make_table(hybridnas.SearchSpace.load(SIX), timer, networks=7)
    assert not timer.timed
    table = make_table(listed, timer, max_blocks=fewest, networks=6)
    assert table.estimate_error is not None


def test_blocks_are_chosen_evenly_from_their_groups() -> None:
    found = blocks(pieces_in(hybridnas.SearchSpace.load("hybrid_small"), (32, 32)))
    chosen = choose(found, 400, random.Random(0))
    assert len(chosen) == len(set(chosen)) == 400
    sizes, taken = Counter(map(group, found)), Counter(map(group, chosen))
    share = min(number for name, number in taken.items() if number < sizes[name])
    for name, number in taken.items():
        assert number == sizes[name] <= share or share <= number <= share + 1
    assert set(choose(found, len(found), random.Random(0))) == set(found)


def test_the_line_through_whole_networks() -> None:
    sums = np.array([1.0, 2.0, 4.0])
    assert list(fit_line(sums, 2 * sums + 0.5)) == pytest.approx([2, 0.5])
    # An offset below 0 would promise networks that take no time: through the origin then.
    scale, offset = fit_line(sums, 2 * sums - 0.5)
    assert (offset, 1.5 < scale < 2) == (0, True)


def test_a_table_in_a_file(tmp_path: Path) -> None:
    table, path = table_of(LISTED), tmp_path / "table.json"
    table.save(path)
    again, sha = load_table(path)
    assert again == table
    assert len(sha) == 64
    with pytest.raises(ConfigError, match=r"no.json cannot be read .*hybridnas latency SPACE"):
        load_table(tmp_path / "no.json")
    path.write_text(table.model_dump_json().replace('"scale"', '"scales"'))
    with pytest.raises(ConfigError, match=r"table.json is no table: .*scale"):
        load_table(path)
    with pytest.raises(ConfigError, match=r"space 'listed' has no stem .*48"):
        table.latency_ms(hybridnas.reference("mambaout_femto"))
    with pytest.raises(ConfigError, match="cannot be written"):
        table.save(tmp_path / "no" / "table.json")


def test_a_space_too_small_is_refused() -> None:
    with pytest.raises(HybridnasError, match=r"6 networks or more .* got 5"):
        table_of(LISTED, networks=5)
    with pytest.raises(HybridnasError, match="'six' is too small to check a table on 7 different"):
        table_of(SIX, networks=7)


def test_times_are_divided_by_the_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device slows down to half of its speed: the table does not show it."""
    speed = {"now": 1.0}
    monkeypatch.setattr(stopwatch, "reference_run", lambda setting: "reference")
    monkeypatch.setattr(stopwatch, "inference", lambda model, x, mode: "piece")
    monkeypatch.setattr(
        stopwatch.Stopwatch,
        "_time",
        lambda self, run, effort: {"reference": 2.0, "piece": 8.0}[run] / speed["now"],
    )
    monkeypatch.setattr(stopwatch, "_BETWEEN_REFERENCES", 1)
    piece = blocks(pieces_in(hybridnas.SearchSpace.load(LISTED), (32, 32)))[0]
    watch = stopwatch.Stopwatch(setting(), 10)
    before = watch.piece(piece)
    speed["now"] = 0.5
    assert (before, watch.piece(piece)) == (2.0, 2.0)  # of four copies in a row


def test_the_command_times_a_space_here(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Effort(warmup=1, rounds=1, runs=1, seconds=0.01)
    monkeypatch.setattr(stopwatch, "_PIECE", quick)
    monkeypatch.setattr(stopwatch, "_NETWORK", quick)
    Path("listed.yaml").write_text(json.dumps(LISTED))  # JSON is YAML
    asked = ("latency", "listed.yaml", "--out", "t.json", "--networks", "6")
    found = cli.json(*asked)
    table, _ = load_table(Path("t.json"))
    assert found["space"] == table.space == "listed"
    assert found["accuracy"]["networks"] == 4
    assert min(table.pieces.values()) > 0
    assert cli.refused("latency", "no_space", "--out", "t.json").startswith("no search space")
    refused = cli.refused("latency", "listed.yaml", "--out", "no/t.json")
    assert refused.startswith("--out no/t.json: there is no folder ")
    Path("tables").mkdir()
    assert cli.refused(*asked[:-3], "tables") == "--out tables is a folder: name a file"
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert cli.refused(*asked) == "--out t.json cannot be written: no permission"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_table_of_this_gpu() -> None:
    space = hybridnas.SearchSpace.load(LISTED)
    here = setting_for(torch.device("cuda"), (64, 64), 32)
    assert (here.mode, here.dtype) == ("captured", "bfloat16")
    table = make_table(space, stopwatch.Stopwatch(here, 10), networks=12)
    assert table.accuracy.spearman > 0.9
    assert table.accuracy.median_error < 0.15
