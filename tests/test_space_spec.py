"""A search space's YAML: what it may say, and the message for whatever it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hybridnas.errors import ConfigError, SpaceError
from hybridnas.layers.blocks import Gated
from hybridnas.layers.heads import LinearHead, MlpHead
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.space import SearchSpace

STAGE: dict[str, Any] = {"depth": [1, 2], "width": [8, 16], "mixer": "gated_conv"}
RAW: dict[str, Any] = {
    "name": "tiny",
    "input_size": 32,
    "stages": [STAGE],
    "blocks": {
        "gated_conv": {"form": "gated"},
        "ssm": {"form": "gated", "expansion": 2},
        "attention": {"form": "metaformer", "expansion": None},
    },
    "options": {"kernel": {"values": [3, 5]}},
}


def with_stage(**changes: Any) -> dict[str, Any]:
    stage = {k: v for k, v in {**STAGE, **changes}.items() if v is not None}
    return {**RAW, "stages": [stage]}


def with_block(**changes: Any) -> dict[str, Any]:
    return {**RAW, "blocks": {**RAW["blocks"], "gated_conv": changes}}


def with_option(name: str, values: Any, **more: Any) -> dict[str, Any]:
    return {**RAW, "options": {name: {"values": values, **more}}}


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in RAW.items() if k != key}


def test_the_values_of_an_option_alone() -> None:
    short = SearchSpace.load({**RAW, "options": {"kernel": [3, 5]}})
    assert short.genes == SearchSpace.load(with_option("kernel", [3, 5])).genes
    assert list(short.genes["stage1.kernel"]) == [3, 5]


def test_every_key_means_something(tmp_path: Path) -> None:
    raw = {
        **with_option("expansion", ["8/3", 2], per="network"),
        "description": "for a test",
        "stem": {"name": "double_conv"},
        "head": "linear",
    }
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(raw))
    for space in (SearchSpace.load(raw), SearchSpace.load(file), SearchSpace.load(str(file))):
        assert (space.name, space.spec.description, space.spec.input_size) == (
            "tiny",
            "for a test",
            32,
        )
        assert space.spec.raw == raw
        assert space.genes == {
            "stage1.depth": (1, 2),
            "stage1.width": (8, 16),
            "expansion": (8 / 3, 2.0),
        }
        first = space.decode({})
        assert first.head == LinearHead()
        assert (first.stages[0].width, first.short) == (8, "G1")
        block = space.decode({"expansion": 2.0}).stages[0].blocks[0]
        assert (block.form, block.mixer) == (Gated(expansion=2), GatedConv())


def test_what_a_file_leaves_out_is_as_documented() -> None:
    spec = SearchSpace.load({**without("options"), "stages": [{**STAGE, "depth": 1}]}).spec
    assert [*spec.heads.values()] == [MlpHead()]
    assert spec.stages[0].depth == (1,)
    assert spec.stages[0].second_half == ("same",)
    assert spec.stages[0].window == (None,)


def test_anchors_and_merge_keys_are_yaml_too(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        "name: tiny\ninput_size: 32\nblocks: {gated_conv: {form: gated}}\n"
        "stages:\n  - &first {depth: [1, 2], width: 8, mixer: gated_conv}\n"
        "  - {<<: *first, width: 16}\n"
    )
    loaded = SearchSpace.load(file)
    assert [stage.width for stage in loaded.spec.stages] == [(8,), (16,)]
    assert loaded.size() == 4


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {**RAW, "stagess": 1},
            r"space: unknown key 'stagess' \(stages\?\); allowed: name, description, in",
        ),
        (
            with_stage(widths=[8]),
            r"unknown key 'stages.0.widths' \(width\?\); allowed: depth, width, mixer, s",
        ),
        (
            with_option("kernel", [3], each="stage"),
            r"unknown key 'options.kernel.each'; allowed: values, per$",
        ),
        (without("name"), r"space: 'name' is missing"),
        (without("blocks"), r"space: 'blocks' is missing"),
        (with_stage(mixer=None), r"'stages.0.mixer' is missing"),
        ({**RAW, "stages": []}, r"stages: must have at least 1 item, got \[\]"),
        ({**RAW, "blocks": {}}, r"blocks: must have at least 1 item"),
        ({**RAW, "input_size": 0}, r"input_size: must be greater than 0, got 0"),
        (with_stage(depth=[]), r"stages.0.depth: must have at least 1 item, got \[\]"),
        (with_stage(depth=[0]), r"stages.0.depth.0: must be greater than 0, got 0"),
        (with_stage(depth=True), r"stages.0.depth.0: must be a whole number, got true"),
        (with_stage(width=[8, 9.0]), r"stages.0.width.1: must be a whole number, got 9"),
        (with_stage(width=[8, "x"]), r"stages.0.width.1: must be a whole number.*'x'"),
        (with_stage(width=[8, 16, 8]), r"stages.0.width: the value 8 stands twice, got \[8, 16"),
        (with_stage(mixer=["ssm"] * 2), r"stages.0.mixer: the value 'ssm' stands twice"),
        (with_stage(mixer="mamba"), r"stage 1: 'mamba' is not under blocks \(gated_conv, ssm, at"),
        (with_stage(second_half=["same", "x"]), r"stage 1: 'x' is not under blocks \(gated_conv"),
        ({**RAW, "stem": "conv9"}, r"stem: unknown stem 'conv9'; known: double_conv"),
        ({**RAW, "head": {"name": "mlp", "ratio": -1}}, r"head MlpHead: ratio must be positive"),
        ({**RAW, "downsample": "x"}, r"downsample: unknown downsample 'x'; known: conv_norm"),
        ({**RAW, "head": ["mlp", "mlp"]}, r"space: head: the value 'mlp' stands twice"),
        ({**RAW, "stem": []}, r"stem: must have at least 1 item"),
        (
            {**RAW, "stem": "tokens", "stages": [STAGE, STAGE]},
            r"stage 1 with width 8: .* a class token makes the map a sequence, .* got 2 stage",
        ),
        (with_stage(window=0), r"stages.0.window.0: must be greater than 0, got 0"),
    ],
)
def test_a_wrong_space_is_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SearchSpace.load(raw)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (with_block(), r"blocks.gated_conv: form is missing; allowed: gated, metaformer"),
        (
            with_block(form="gate"),
            r"blocks.gated_conv: unknown form 'gate' \(gated\?\); known: gated, met",
        ),
        (
            with_block(form="gated", mixer="con"),
            r"unknown mixer 'con' \(conv\?\); known: gated_conv, ssm",
        ),
        (with_block(form="gated", kernal=3), r"no option 'kernal' \(kernel\?\); it takes kernel"),
        (with_block(form="gated", kernel="3"), r"blocks.gated_conv.kernel must be int, got '3'"),
        (with_block(form="gated", kernel=4), r"stage 1, gated_conv with width 8: .* odd and pos"),
        (with_option("kernel", []), r"options.kernel.values: must have at least 1 item"),
        (with_option("kernel", [3, 5, 3]), r"options.kernel: the value 3 stands twice"),
        (with_option("expansion", [2, "2"]), r"options.expansion: the value 2.0 stands twice"),
        (with_option("kernel", [3, True]), r"options.kernel must be int, got True"),
        (with_option("kernel", [3, 3.5]), r"options.kernel must be int, got 3.5"),
        (with_option("act", ["gelu", "elu"]), r"options.act must be one of 'gelu', .*got 'elu'"),
        (with_option("act", ["geluu"]), r"got 'geluu' \(gelu\?\)"),
        (with_option("kernl", [3, 5]), r"options.kernl \(kernel\?\): no block under blocks takes"),
        (with_block(form="gated", mixr="ssm"), r"no option 'mixr' \(mixer\?\); it takes kernel"),
        (with_stage(mixer="gated_cnv"), r"stage 1: 'gated_cnv' \(gated_conv\?\) is not under"),
        (with_option("kernel", [3], per="part"), r"options.kernel.per: must be 'block', "),
        (with_option("window", [7]), r"options.window: no block under blocks takes it \(or each"),
        (with_option("kernel", [3, 4]), r"gated_conv with width 8, kernel 4: .* odd and positive"),
        (
            with_option("directions", {"choose": 2}),
            r"options.directions.values: combinations are written {choose: NUMBER, of: \[NAME",
        ),
        (
            with_option("directions", {"choose": 3, "of": ["h", "v"]}),
            r"options.directions.values: choose must be 1 to 2, the number of names under of",
        ),
    ],
)
def test_wrong_blocks_and_options_are_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SearchSpace.load(raw)


def test_an_option_that_every_block_fixes_decides_nothing() -> None:
    raw = with_block(form="gated", kernel=3) | {"stages": [{**STAGE, "mixer": "gated_conv"}]}
    raw["blocks"] = {"gated_conv": raw["blocks"]["gated_conv"]}
    with pytest.raises(SpaceError, match=r"options.kernel: no block .*takes it \(or each fixes"):
        SearchSpace.load(raw)


def test_an_impossible_combination_is_named() -> None:
    raw = {
        **RAW,
        "stages": [STAGE, {**STAGE, "mixer": ["gated_conv", "attention"], "width": [48, 64]}],
        "options": {"head_dim": {"values": [16, 32]}, "kernel": {"values": [3, 5]}},
    }
    message = (
        r"space 'tiny', stage 2, attention with width 48, head_dim 32: "
        r".*mixed channels must be a multiple of head_dim 32, got 48"
    )
    with pytest.raises(SpaceError, match=message):
        SearchSpace.load(raw)
    together = {"conv_ratio": {"values": [1, 2]}, "expansion": {"values": ["8/3", 1.5]}}
    message = r"gated_conv with width 8, conv_ratio 2.0, expansion 1.5: .*got conv_ratio 2 and"
    with pytest.raises(SpaceError, match=message):
        SearchSpace.load({**RAW, "options": together})


def test_two_names_for_one_block_in_a_stage_are_refused() -> None:
    blocks = {
        "any": {"form": "gated", "mixer": "gated_conv"},
        "large": {"form": "gated", "mixer": "gated_conv", "kernel": 5},
    }
    both = {**with_stage(mixer=["any", "large"]), "blocks": blocks}
    with pytest.raises(SpaceError, match=r"space 'tiny', stage 1: any and large make the same bl"):
        SearchSpace.load(both)
    half = {**with_stage(mixer="any", second_half=["same", "large"]), "blocks": blocks}
    with pytest.raises(SpaceError, match=r"any and large make the same block"):
        SearchSpace.load(half)


def test_an_unknown_space_lists_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no search space 'hybird' .*shipped.*\(attention_only"):
        SearchSpace.load("hybird")
    with pytest.raises(ConfigError, match=r"no search space .*missing\.yaml"):
        SearchSpace.load(tmp_path / "missing.yaml")


def test_an_error_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: a\nname: b\n")
    with pytest.raises(SpaceError, match=r"mine\.yaml: not valid YAML: the key 'name' stands twi"):
        SearchSpace.load(file)
    file.write_text("[1, 2]")
    with pytest.raises(SpaceError, match=r"mine\.yaml: expected a mapping, .*, got a list"):
        SearchSpace.load(file)
    file.write_text(yaml.safe_dump({**RAW, "nmae": 1}))
    with pytest.raises(
        SpaceError, match=r"mine\.yaml: unknown key 'nmae' \(name\?\); allowed: name"
    ):
        SearchSpace.load(file)
