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
TELLTALES = {
    "mambaout_femto": {
        "downsample_layers.0.conv1.weight",
        "stages.0.0.fc1.weight",
        "head.fc2.bias",
    },
    "convnext_tiny": {"downsample_layers.2.0.weight", "stages.3.0.gamma", "norm.bias", "head.bias"},
    "caformer_s18": {"downsample_layers.1.pre_norm.weight", "stages.2.0.token_mixer.proj.weight"},
    "vmamba_tiny_s2l5": {"patch_embed.5.weight", "layers.0.downsample.1.bias"},
    "vmamba_v0_tiny": {"layers.2.downsample.reduction.weight", "layers.0.blocks.0.ln_1.bias"},
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
    assert state.keys() >= TELLTALES[name]
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


def test_weights_of_nobody_come_back_as_they_are() -> None:
    net = network(shallow(reference("mambaout_femto")))
    state = {"layer1.0.conv1.weight": torch.zeros(1)}
    assert checkpoint_filter_fn(state, net) == state
