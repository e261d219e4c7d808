"""Weights as their repositories name them; timm's names are held to its outputs in
test_reference.py."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from contract_helpers import IMAGES, network, shallow
from torch import Tensor

from hybridnas.checkpoint import checkpoint_filter_fn
from hybridnas.reference import reference

# Our names to those of the repositories, read off their modules' definitions.
PYRAMID = [
    (r"^stem\.", "downsample_layers.0."),
    (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
    (r"^stages\.(\d)\.blocks\.(\d)\.", r"stages.\1.\2."),
]
MLP_HEAD = [
    (r"^head\.norm", "norm"),
    (r"^head\.pre_logits\.fc", "head.fc1"),
    (r"^head\.pre_logits\.norm", "head.norm"),
    (r"^head\.fc\b", "head.fc2"),
]
MAMBAOUT = [*MLP_HEAD, (r"proj_in", "fc1"), (r"proj_out", "fc2"), (r"mixer", "conv"), *PYRAMID]
CONVNEXT = [
    (r"^head\.norm", "norm"),
    (r"^head\.fc", "head"),
    (r"^stem\.conv1", "stem.0"),
    (r"^stem\.norm1", "stem.1"),
    (r"downsample\.norm", "downsample.0"),
    (r"downsample\.conv", "downsample.1"),
    (r"mixer", "dwconv"),
    (r"mlp\.norm", "norm"),
    (r"mlp\.fc(\d)", r"pwconv\1"),
    (r"scale\.scale", "gamma"),
    *PYRAMID,
]
CAFORMER = [
    *MLP_HEAD,
    (r"^stem\.conv1", "stem.conv"),
    (r"^stem\.norm1", "stem.post_norm"),
    (r"downsample\.norm", "downsample.pre_norm"),
    (r"(blocks\.\d)\.norm", r"\1.norm1"),
    (r"mlp\.norm", "norm2"),
    (r"\bproj_in", "token_mixer.pwconv1"),
    (r"(stages\.[01].*)\bproj_out", r"\1token_mixer.pwconv2"),
    (r"(stages\.[23].*)\bproj_out", r"\1token_mixer.proj"),
    (r"mixer\.0", "token_mixer.act1"),
    (r"mixer\.1", "token_mixer.dwconv"),
    (r"mixer\.qkv", "token_mixer.qkv"),
    (r"mlp_res_scale", "res_scale2"),
    (r"\bres_scale\.", "res_scale1."),
    *PYRAMID,
]
SCAN = [
    (r"\bmlp\.norm", "norm2"),
    (r"\bproj_in", "OP.in_proj"),
    (r"\bproj_out", "OP.out_proj"),
    (r"mixer\.conv", "OP.conv2d"),
    (r"mixer\.norm", "OP.out_norm"),
    (r"mixer\.scan\.x_proj", "OP.x_proj_weight"),
    (r"mixer\.scan\.dt_proj", "OP.dt_projs_weight"),
    (r"mixer\.scan\.dt_bias", "OP.dt_projs_bias"),
    (r"mixer\.scan\.A_log", "OP.A_logs"),
    (r"mixer\.scan\.D", "OP.Ds"),
    (r"^stages\.1\.downsample", "layers.0.downsample"),
    (r"^stages\.2\.downsample", "layers.1.downsample"),
    (r"^stages\.3\.downsample", "layers.2.downsample"),
    (r"^stages", "layers"),
]
VMAMBA = [
    *SCAN,
    (r"OP", "op"),
    (r"^head\.norm", "classifier.norm"),
    (r"^head\.fc", "classifier.head"),
    (r"^stem\.conv1", "patch_embed.0"),
    (r"^stem\.norm1", "patch_embed.2"),
    (r"^stem\.conv2", "patch_embed.5"),
    (r"^stem\.norm2", "patch_embed.7"),
    (r"downsample\.conv", "downsample.1"),
    (r"downsample\.norm", "downsample.3"),
]
VMAMBA_V0 = [
    *SCAN,
    (r"(blocks\.\d)\.norm\b", r"\1.ln_1"),
    (r"OP", "self_attention"),
    (r"^head\.norm", "norm"),
    (r"^head\.fc", "head"),
    (r"^stem\.conv1", "patch_embed.proj"),
    (r"^stem\.norm1", "patch_embed.norm"),
]
SOURCES = {
    "mambaout_femto": MAMBAOUT,
    "convnext_tiny": CONVNEXT,
    "caformer_s18": CAFORMER,
    "vmamba_tiny_s2l5": VMAMBA,
    "vmamba_v0_tiny": VMAMBA_V0,
}
# All keys of stem, head, the first downsampler and the first block, as the repositories' modules
# name them; none of them is made by a rule above.
WITH_BIAS = ("weight", "bias")
RELEASED: dict[str, dict[str, tuple[str, ...]]] = {
    "mambaout_femto": {
        "downsample_layers.0.conv1": WITH_BIAS,
        "downsample_layers.0.norm1": WITH_BIAS,
        "downsample_layers.0.conv2": WITH_BIAS,
        "downsample_layers.0.norm2": WITH_BIAS,
        "downsample_layers.1.conv": WITH_BIAS,
        "downsample_layers.1.norm": WITH_BIAS,
        "stages.0.0.norm": WITH_BIAS,
        "stages.0.0.fc1": WITH_BIAS,
        "stages.0.0.conv": WITH_BIAS,
        "stages.0.0.fc2": WITH_BIAS,
        "norm": WITH_BIAS,
        "head.fc1": WITH_BIAS,
        "head.norm": WITH_BIAS,
        "head.fc2": WITH_BIAS,
    },
    "convnext_tiny": {
        "downsample_layers.0.0": WITH_BIAS,
        "downsample_layers.0.1": WITH_BIAS,
        "downsample_layers.1.0": WITH_BIAS,
        "downsample_layers.1.1": WITH_BIAS,
        "stages.0.0": ("gamma",),
        "stages.0.0.dwconv": WITH_BIAS,
        "stages.0.0.norm": WITH_BIAS,
        "stages.0.0.pwconv1": WITH_BIAS,
        "stages.0.0.pwconv2": WITH_BIAS,
        "norm": WITH_BIAS,
        "head": WITH_BIAS,
    },
    "caformer_s18": {
        "downsample_layers.0.conv": WITH_BIAS,
        "downsample_layers.0.post_norm": ("weight",),
        "downsample_layers.1.pre_norm": ("weight",),
        "downsample_layers.1.conv": WITH_BIAS,
        "stages.0.0.norm1": ("weight",),
        "stages.0.0.token_mixer.pwconv1": ("weight",),
        "stages.0.0.token_mixer.act1": ("scale", "bias"),
        "stages.0.0.token_mixer.dwconv": ("weight",),
        "stages.0.0.token_mixer.pwconv2": ("weight",),
        "stages.0.0.norm2": ("weight",),
        "stages.0.0.mlp.fc1": ("weight",),
        "stages.0.0.mlp.act": ("scale", "bias"),
        "stages.0.0.mlp.fc2": ("weight",),
        "stages.2.0.token_mixer.qkv": ("weight",),
        "stages.2.0.token_mixer.proj": ("weight",),
        "stages.2.0.res_scale1": ("scale",),
        "stages.2.0.res_scale2": ("scale",),
        "norm": WITH_BIAS,
        "head.fc1": WITH_BIAS,
        "head.norm": WITH_BIAS,
        "head.fc2": WITH_BIAS,
    },
    "vmamba_tiny_s2l5": {
        "patch_embed.0": WITH_BIAS,
        "patch_embed.2": WITH_BIAS,
        "patch_embed.5": WITH_BIAS,
        "patch_embed.7": WITH_BIAS,
        "layers.0.blocks.0.norm": WITH_BIAS,
        "layers.0.blocks.0.op": (
            "x_proj_weight",
            "dt_projs_weight",
            "dt_projs_bias",
            "A_logs",
            "Ds",
        ),
        "layers.0.blocks.0.op.out_norm": WITH_BIAS,
        "layers.0.blocks.0.op.in_proj": ("weight",),
        "layers.0.blocks.0.op.conv2d": ("weight",),
        "layers.0.blocks.0.op.out_proj": ("weight",),
        "layers.0.blocks.0.norm2": WITH_BIAS,
        "layers.0.blocks.0.mlp.fc1": WITH_BIAS,
        "layers.0.blocks.0.mlp.fc2": WITH_BIAS,
        "layers.0.downsample.1": WITH_BIAS,
        "layers.0.downsample.3": WITH_BIAS,
        "classifier.norm": WITH_BIAS,
        "classifier.head": WITH_BIAS,
    },
    "vmamba_v0_tiny": {
        "patch_embed.proj": WITH_BIAS,
        "patch_embed.norm": WITH_BIAS,
        "layers.0.blocks.0.ln_1": WITH_BIAS,
        "layers.0.blocks.0.self_attention.conv2d": WITH_BIAS,
        "layers.0.blocks.0.self_attention.in_proj": ("weight",),
        "layers.0.downsample.reduction": ("weight",),
        "layers.0.downsample.norm": WITH_BIAS,
        "norm": WITH_BIAS,
        "head": WITH_BIAS,
    },
}


def as_released(state: dict[str, Tensor], rules: list[tuple[str, str]]) -> dict[str, Tensor]:
    """The weights under the repository's names, with parameters of all directions merged."""
    found = {}
    for key, value in state.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        merged = key.endswith(("A_logs", "Ds"))
        found[key] = value.flatten(0, 1) if merged else value
    return found


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
@pytest.mark.parametrize("name", SOURCES)
def test_weights_of_the_original_repositories(name: str, wrapper: str | None) -> None:
    architecture = shallow(reference(name))
    released, ours = network(architecture), network(architecture, seed=1)
    state: dict[str, Any] = as_released(released.state_dict(), SOURCES[name])
    assert state.keys() >= {f"{k}.{end}" for k, ends in RELEASED[name].items() for end in ends}
    ours.load_state_dict(checkpoint_filter_fn({wrapper: state} if wrapper else state, ours))
    with torch.no_grad():
        assert torch.equal(ours(IMAGES), released(IMAGES))


def test_weights_of_data_parallel_training() -> None:
    architecture = shallow(reference("mambaout_femto"))
    released, ours = network(architecture), network(architecture, seed=1)
    state = {f"module.{key}": value for key, value in released.state_dict().items()}
    ours.load_state_dict(checkpoint_filter_fn(state, ours))
    with torch.no_grad():
        assert torch.equal(ours(IMAGES), released(IMAGES))


def test_weights_of_a_compiled_network() -> None:
    architecture = shallow(reference("convnext_tiny"))
    released, ours = network(architecture), network(architecture, seed=1)
    state = as_released(released.state_dict(), CONVNEXT)
    ours.load_state_dict(
        checkpoint_filter_fn({f"_orig_mod.{k}": v for k, v in state.items()}, ours)
    )
    with torch.no_grad():
        assert torch.equal(ours(IMAGES), released(IMAGES))


def test_numbers_in_another_order_are_not_taken() -> None:
    net = network(shallow(reference("mambaout_femto")))
    state = as_released(net.state_dict(), MAMBAOUT)
    state["stages.0.0.fc1.weight"] = state["stages.0.0.fc1.weight"].T
    with pytest.raises(RuntimeError, match=r"size mismatch for stages\.0\.blocks\.0\.proj_in"):
        net.load_state_dict(checkpoint_filter_fn(state, net))


def test_weights_of_nobody_come_back_as_they_are() -> None:
    net = network(shallow(reference("mambaout_femto")))
    state = {"layer1.0.conv1.weight": torch.zeros(1)}
    assert checkpoint_filter_fn(state, net) == state
