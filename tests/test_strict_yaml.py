"""YAML read strictly, and `--set` on top of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from hybridnas.config import parse_study
from hybridnas.errors import ConfigError, HybridnasError
from hybridnas.resources import find
from hybridnas.runs import load_recipe
from hybridnas.space import SearchSpace
from hybridnas.strict_yaml import override, read_yaml
from hybridnas.tables import read_table

Kind = Literal["studies", "search_spaces", "tables"]
RAW: dict[str, Any] = {"a": 1, "b": {"c": 2, "d": [3, {"e": 4}]}, "sampler": "tpe"}


def read(text: str, folder: Path) -> dict[str, Any]:
    file = folder / "file.yaml"
    file.write_text(text)
    return read_yaml(file)


def test_yaml_and_json_are_read(tmp_path: Path) -> None:
    assert read("a: [1, 2.5, x]\nb: {c: null}\n", tmp_path) == {
        "a": [1, 2.5, "x"],
        "b": {"c": None},
    }
    assert read('{"a": [true, "é"]}', tmp_path) == {"a": [True, "é"]}
    merged = read("a: &x {k: 1, l: 2}\nb: {<<: *x, l: 3}\n", tmp_path)
    assert merged["b"] == {"k": 1, "l": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", r"not valid YAML: the key 'a' stands twice \(line 2, column 1\)$"),
        ("x: {b: {c: 1, c: 1}}", r"not valid YAML: the key 'c' stands twice"),
        ("x: [{c: 1}, {d: 1, d: 2}]", r"not valid YAML: the key 'd' stands twice"),
        (
            "a: [1",
            r"not valid YAML: while parsing a flow sequence \(line 1, column 4\), expected ','",
        ),
        (
            "a: 1\n\tb: 2\n",
            r"not valid YAML: .*line 2, .*; lines are indented by spaces, not by tabs$",
        ),
        ("? [1]\n: 2\n", r"not valid YAML: .*unhashable key"),
        ("a: !!python/object/apply:os.getcwd []", r"not valid YAML: could not determine a constr"),
        ("", r"expected a mapping, KEY: VALUE in each line, got nothing"),
        ("- a\n", r"expected a mapping, .*, got a list"),
        ("just text", r"expected a mapping, .*, got text"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"file\.yaml: " + message):
        read(text, tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read \(.*No such file"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match=r"bytes\.yaml: cannot be read \(.*decode"):
        read_yaml(tmp_path / "bytes.yaml")


@pytest.mark.parametrize(
    ("setting", "where", "value"),
    [
        ("a=5", ("a",), 5),
        ("a = 5", ("a",), 5),
        ("b.c=0.5", ("b", "c"), 0.5),
        ("b.c=null", ("b", "c"), None),
        ("b.c=", ("b", "c"), None),
        ("b.c=x=y", ("b", "c"), "x=y"),
        ("b.c={k: [1, 2]}", ("b", "c"), {"k": [1, 2]}),
        ("b.d=[7]", ("b", "d"), [7]),
        ("b.d.0=9", ("b", "d", 0), 9),
        ("b.d.1.e=9", ("b", "d", 1, "e"), 9),
        ("b.d.0.e=9", ("b", "d", 0), {"e": 9}),
        ("new.key.deep=1", ("new", "key", "deep"), 1),
        ("a.k=1", ("a",), {"k": 1}),  # a number gives way
        ("sampler=nsga2", ("sampler",), "nsga2"),
        ("sampler.size=8", ("sampler",), {"name": "tpe", "size": 8}),
    ],
)
def test_a_setting_changes_one_place(
    setting: str, where: tuple[str | int, ...], value: Any
) -> None:
    before = copy.deepcopy(RAW)
    node: Any = override(RAW, [setting])
    rest = copy.deepcopy(node)
    for key in where:
        node = node[key]
    assert node == value
    assert before == RAW
    untouched = RAW.keys() - {where[0]}
    assert {k: rest[k] for k in untouched} == {k: RAW[k] for k in untouched}


def test_settings_apply_in_turn() -> None:
    assert override(RAW, ["sampler=random", "sampler.size=1", "a=2", "a=3"]) == {
        "a": 3,
        "b": RAW["b"],
        "sampler": {"name": "random", "size": 1},
    }
    assert override(RAW, []) == RAW


def test_a_setting_reaches_no_other_place_that_yaml_shares(tmp_path: Path) -> None:
    raw = read("a: &x {k: 1}\nb: *x\nday: 2026-01-02\n", tmp_path)
    changed = override(raw, ["a.k=2"])
    assert (changed["a"], changed["b"]) == ({"k": 2}, {"k": 1})
    assert raw["a"] == {"k": 1}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("a", r"--set takes KEY=VALUE with a dotted key, got 'a'"),
        ("=1", r"--set takes KEY=VALUE with a dotted key, got '=1'"),
        ("a..b=1", r"--set takes KEY=VALUE with a dotted key, got 'a..b=1'"),
        ("a=[1", r"--set a: '\[1' is not a YAML value"),
        ("a={k: 1, k: 2}", r"--set a: '\{k: 1, k: 2\}' is not a YAML value"),
        ("b.d.2=1", r"--set b.d.2=1: '2' is no index of a list of 2"),
        ("b.d.x=1", r"--set b.d.x=1: 'x' is no index of a list of 2"),
        ("b.d.-1=1", r"--set b.d.-1=1: '-1' is no index of a list of 2"),
    ],
)
def test_a_wrong_setting_is_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(RAW, [setting])


@pytest.mark.parametrize(
    ("folder", "name", "reader", "words"),
    [
        ("studies", "quickstart", SearchSpace.load, "a study; allowed are the keys name, descript"),
        ("studies", "quickstart", lambda file: load_recipe(str(file)), "a study; allowed are"),
        ("studies", "quickstart", lambda file: read_table(str(file)), "a study; allowed are"),
        (
            "search_spaces",
            "hybrid",
            lambda file: parse_study(read_yaml(file), ""),
            "a search space",
        ),
        ("tables", "digits", SearchSpace.load, "the card of a table; allowed are"),
    ],
)
def test_a_file_of_another_kind_is_called_that(
    folder: Kind, name: str, reader: Callable[[Path], object], words: str
) -> None:
    with pytest.raises(HybridnasError, match=f": it looks like {words}") as error:
        reader(find(folder, name))
    assert len(str(error.value)) < 400


def test_unknown_keys_of_one_place_come_together() -> None:
    raw = {**read_yaml(find("studies", "quickstart")), "sead": 1, "blocks": 2}
    raw["budget"] = {"trials": 1, "ours": 3}
    with pytest.raises(
        ConfigError,
        match=r"^x: unknown key 'budget\.ours' \(hours\?\); allowed: trials, hours, gpu_hours; "
        r"unknown keys 'sead' \(seed\?\), 'blocks'; allowed: task, .*_weights$",
    ):
        parse_study(raw, "x")
