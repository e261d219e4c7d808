"""The architecture as a value: its two forms, its digest, and what it refuses."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.errors import ArchitectureError, ConfigError
from hybridnas.layers.blocks import Gated, MetaFormer
from hybridnas.layers.heads import LinearHead
from hybridnas.mixers.attention import Attention
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.mixers.ssm import SSM
from hybridnas.reference import REFERENCES, reference
from hybridnas.resources import shipped
from hybridnas.space import SearchSpace

CONV = Block(Gated(), GatedConv())
SCAN = Block(Gated(), SSM(d_state=8))
ATTENTION = Block(MetaFormer(), Attention(head_dim=8))
HYBRID = Architecture(
    (Stage(16, (CONV,)), Stage(32, (SCAN, SCAN, SCAN, ATTENTION, ATTENTION))), head=LinearHead()
)
HYBRID_JSON = (
    '{"downsample":"conv_norm","head":"linear","stages":['
    '{"blocks":[{"form":"gated","mixer":"gated_conv","repeat":1}],"width":16},'
    '{"blocks":[{"form":"gated","mixer":{"d_state":8,"name":"ssm"},"repeat":3},'
    '{"form":"metaformer","mixer":{"head_dim":8,"name":"attention"},"repeat":2}],"width":32}],'
    '"stem":"double_conv"}'
)
RAW: dict[str, Any] = {
    "stem": "double_conv",
    "stages": [{"width": 64, "blocks": [{"form": "gated", "mixer": "gated_conv", "repeat": 2}]}],
}
ODD_KEYS: dict[Any, Any] = {**RAW, 1: 1, "x": 1}


def with_block(**changes: Any) -> dict[str, Any]:
    """RAW with other entries in its only block; None leaves one out."""
    raw = copy.deepcopy(RAW)
    block = {**raw["stages"][0]["blocks"][0], **changes}
    raw["stages"][0]["blocks"] = [{k: v for k, v in block.items() if v is not None}]
    return raw


def with_stage(**changes: Any) -> dict[str, Any]:
    """RAW with other entries in its only stage; None leaves one out."""
    stage = {**RAW["stages"][0], **changes}
    return {**RAW, "stages": [{k: v for k, v in stage.items() if v is not None}]}


def test_canonical_json_merges_neighbours_and_leaves_defaults_out() -> None:
    assert HYBRID.to_json() == HYBRID_JSON


def test_neighbours_merge_only_where_they_touch() -> None:
    stage = Stage(16, (CONV, SCAN, SCAN, CONV))
    runs = [entry["repeat"] for entry in Architecture((stage,)).to_dict()["stages"][0]["blocks"]]
    assert runs == [1, 2, 1]


@pytest.mark.parametrize("space", [*shipped("search_spaces")])
def test_json_and_yaml_round_trip(space: str, tmp_path: Path) -> None:
    loaded = SearchSpace.load(space)
    rng = random.Random(0)
    file = tmp_path / "architecture.yaml"
    for _ in range(10):
        architecture = loaded.sample(rng)
        assert Architecture.from_json(architecture.to_json()) == architecture
        assert Architecture.from_dict(architecture.to_dict()) == architecture
        file.write_text(yaml.safe_dump(architecture.to_dict()))
        assert Architecture.load(file) == architecture
        file.write_text(architecture.to_json())  # JSON is YAML
        assert Architecture.load(file) == architecture


def test_digests_are_the_database_keys_and_must_not_change() -> None:
    assert reference("mambaout_femto").digest == "2786617854ab"
    assert HYBRID.digest == "800e5fb4547b"


@pytest.mark.parametrize(
    "spelling",
    [
        with_block(form={"name": "gated", "expansion": "8/3"}),
        with_block(form={"name": "gated", "expansion": 8 / 3, "conv_ratio": 1, "act": "gelu"}),
        with_block(form={"name": "gated", "conv_ratio": "1.0"}),
        with_block(mixer={"name": "gated_conv", "kernel": 7}),
        with_block(mixer="hybridnas.mixers.gated_conv:GatedConv"),
        {**RAW, "head": {"name": "mlp", "ratio": 4}, "downsample": "conv_norm"},
        with_stage(blocks=[{"form": "gated", "mixer": "gated_conv"}] * 2),
    ],
)
def test_equal_values_have_equal_digests_however_written(spelling: dict[str, Any]) -> None:
    plain, other = Architecture.from_dict(RAW), Architecture.from_dict(spelling)
    assert other == plain
    assert other.to_json() == plain.to_json()
    assert other.digest == plain.digest


def test_zero_has_one_sign() -> None:
    digests = {
        Architecture((Stage(8, (Block(MetaFormer(mlp_ratio=zero), Attention(8)),)),)).digest
        for zero in (0.0, -0.0)
    }
    assert len(digests) == 1


def test_different_values_have_different_digests() -> None:
    others = [
        Architecture.from_dict(raw)
        for raw in (
            RAW,
            {**RAW, "head": "linear"},
            with_stage(width=72),
            with_block(repeat=3),
            with_block(mixer="ssm"),
            with_block(mixer={"name": "gated_conv", "kernel": 5}),
            with_block(form={"name": "gated", "act": "silu"}),
            with_block(form="metaformer"),
        )
    ]
    assert len({a.digest for a in others}) == len(others)


def test_short_and_describe_show_a_change_half_way() -> None:
    assert HYBRID.short == "G1-S3A2"
    assert HYBRID.describe() == [
        "width 16: 1 x gated_conv",
        "width 32: 3 x ssm (d_state 8), then 2 x attention (metaformer, head_dim 8)",
    ]
    wide = Block(Gated(expansion=3, act="silu"), GatedConv(kernel=3))
    assert Architecture((Stage(16, (wide,)),)).describe() == [
        "width 16: 1 x gated_conv (kernel 3, expansion 3, act silu)"
    ]
    # short counts blocks of a mixer, whatever their options
    assert Stage(16, (wide, CONV, SCAN)).short == "G2S1"


def test_an_architecture_is_frozen_hashable_and_picklable() -> None:
    for value, field in ((HYBRID, "stages"), (HYBRID.stages[0], "width"), (SCAN.mixer, "kernel")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field, 1)
    twin = Architecture.from_json(HYBRID_JSON)
    assert len({HYBRID, twin}) == 1
    assert pickle.loads(pickle.dumps(HYBRID)) == HYBRID
    assert copy.deepcopy(HYBRID) == HYBRID


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {**RAW, "stemm": 1},
            r"architecture: unknown key 'stemm' \(stem\?\); allowed: downsample, he",
        ),
        (ODD_KEYS, r"architecture: unknown key 1; allowed"),
        ({"stem": "double_conv"}, r"architecture: 'stages' is missing"),
        ({**RAW, "stages": []}, r"stages: expected a list with at least one entry, got \[\]"),
        ({**RAW, "stages": "G3"}, r"stages: expected a list with at least one entry, got 'G3'"),
        ({**RAW, "stages": [3]}, r"stages\[0\]: expected a mapping, got 3"),
        ({**RAW, "stem": "conv7"}, r"stem: unknown stem 'conv7'; known: double_conv"),
        ({**RAW, "stem": None}, r"stem: a stem is a name or a mapping with a name, got None"),
        ({**RAW, "head": {"ratio": 2}}, r"head: a head is a name or .* known: linear, mlp"),
        ({**RAW, "head": {"name": "mlp", "ratio": 0}}, r"head: head MlpHead: ratio must be pos"),
        ({**RAW, "downsample": "x"}, r"downsample: unknown downsample 'x'; known: conv_norm"),
        (with_stage(width=None), r"stages\[0\]: 'width' is missing"),
        (with_stage(depth=3), r"stages\[0\]: unknown key 'depth'; allowed: blocks, width"),
        (with_stage(width=0), r"stages\[0\]: stage width must be a positive integer, got 0"),
        (with_stage(width=True), r"stage width must be a positive integer, got True"),
        (with_stage(width=64.0), r"stage width must be a positive integer, got 64.0"),
        (with_stage(width=1), r"stem DoubleConv: needs a width of 2 or more, got 1"),
        (with_stage(blocks=[]), r"stages\[0\].blocks: expected a list with at least one entry"),
        (with_block(form=None), r"stages\[0\].blocks\[0\]: 'form' is missing"),
        (with_block(kernel=3), r"blocks\[0\]: unknown key 'kernel'; allowed: form, mixer, repeat"),
        (with_block(repeat=0), r"blocks\[0\]: repeat must be a positive integer, got 0"),
        (with_block(repeat=True), r"blocks\[0\]: repeat must be a positive integer, got True"),
        (
            with_block(form="gate"),
            r"blocks\[0\].form: unknown form 'gate' \(gated\?\); known: g",
        ),
    ],
)
def test_a_wrong_mapping_is_refused(raw: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        Architecture.from_dict(raw)


@pytest.mark.parametrize(
    ("mixer", "message"),
    [
        ("mamba", r"mixer: unknown mixer 'mamba'; known: gated_conv, ssm, attention"),
        (7, r"blocks\[0\].mixer: expected a mapping, got 7"),
        ({"kernel": 3}, r"mixer: name is missing; known: gated_conv, ssm, attention"),
        (
            {"name": "gated_conv", "kernal": 3},
            r"GatedConv has no option 'kernal' \(kernel\?\); it takes k",
        ),
        ({"name": "gated_conv", "kernel": 4}, r"kernel must be odd and positive, got 4"),
        ({"name": "gated_conv", "kernel": -1}, r"kernel must be odd and positive, got -1"),
        ({"name": "gated_conv", "kernel": "3"}, r"GatedConv: kernel must be int, got '3'"),
        ({"name": "gated_conv", "kernel": True}, r"GatedConv: kernel must be int, got True"),
        ({"name": "gated_conv", "kernel": 3.0}, r"GatedConv: kernel must be int, got 3.0"),
        ({"name": "ssm", "kernel": 2}, r"mixer SSM: kernel must be odd and positive, got 2"),
        ({"name": "ssm", "d_state": 0}, r"d_state must be positive, got 0"),
        ({"name": "ssm", "directions": "h v x_flip"}, r"directions must be h, v or w2, w7, "),
        ({"name": "ssm", "directions": "h  v"}, r"apart by a space, got 'h  v'"),
        ({"name": "ssm", "directions": "diagonal"}, r"directions must be .* got 'diagonal'"),
        ({"name": "attention", "head_dim": 0}, r"head_dim and num_heads must be positive, got 0"),
        ({"name": "attention", "head_dim": 24}, r"a multiple of head_dim 24, got 64"),
    ],
)
def test_a_wrong_mixer_is_refused(mixer: object, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        Architecture.from_dict(with_block(mixer=mixer))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"name": "gated", "conv_ratio": 3}, r"conv_ratio <= expansion, got conv_ratio 3 and exp"),
        ({"name": "gated", "conv_ratio": 0}, r"needs 0 < conv_ratio <= expansion"),
        ({"name": "gated", "conv_ratio": 0.01}, r"conv_ratio 0.01 leaves nothing to mix of 64"),
        ({"name": "gated", "expansion": float("nan")}, r"expansion must be float, got nan"),
        ({"name": "gated", "expansion": "nan"}, r"expansion must be float, got 'nan'"),
        ({"name": "gated", "expansion": float("inf")}, r"expansion must be float, got inf"),
        ({"name": "gated", "expansion": 10**400}, r"expansion must be float, got 1000"),
        ({"name": "gated", "expansion": "8/0"}, r"expansion must be float, got '8/0'"),
        ({"name": "gated", "expansion": "big"}, r"expansion must be float, got 'big'"),
        ({"name": "gated", "expansion": True}, r"expansion must be float, got True"),
        ({"name": "gated", "expansion": None}, r"expansion must be float, got None"),
        ({"name": "gated", "act": "elu"}, r"act must be one of 'gelu', .*, got 'elu'"),
        ({"name": "metaformer", "expansion": 0}, r"needs expansion > 0 \(or none\) and mlp_rat"),
        ({"name": "metaformer", "mlp_ratio": -1}, r"mlp_ratio >= 0, got expansion None and mlp"),
        ({"name": "metaformer", "expansion": 0.01}, r"leaves no channels of a width of 64"),
        ({"name": "metaformer", "mlp_ratio": 0.01}, r"leaves no channels of a width of 64"),
    ],
)
def test_a_wrong_form_is_refused(form: object, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        Architecture.from_dict(with_block(form=form))


def test_values_check_themselves_too() -> None:
    with pytest.raises(ArchitectureError, match="an architecture needs at least one stage"):
        Architecture(())
    with pytest.raises(ArchitectureError, match="a stage needs at least one block"):
        Stage(8, ())
    with pytest.raises(ArchitectureError, match="unknown reference architecture 'resnet50'; known"):
        reference("resnet50")
    assert [*REFERENCES][:2] == ["mambaout_femto", "mambaout_kobe"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"not valid JSON: .*line 1 column 2"),
        ("[1]", r"architecture: expected a mapping, got \[1\]"),
        ('{"stages": [], "stages": []}', r"not valid JSON: the key 'stages' stands twice"),
    ],
)
def test_text_that_is_no_architecture_is_refused(text: str, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        Architecture.from_json(text)


def test_a_file_that_is_no_architecture_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("stages: [{width: 8, width: 16}]\n")
    with pytest.raises(ConfigError, match=r"a\.yaml: not valid YAML: the key 'width' stands twice"):
        Architecture.load(file)
    file.write_text(json.dumps({**RAW, "stem": "x"}))
    with pytest.raises(ArchitectureError, match=r"a\.yaml: stem: unknown stem 'x'"):
        Architecture.load(file)
    with pytest.raises(ConfigError, match=r"b\.yaml: cannot be read"):
        Architecture.load(tmp_path / "b.yaml")
