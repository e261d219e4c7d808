"""Weights of published repositories, brought to the names of our networks.

Known: MambaOut, ConvNeXt, ConvFormer and CAFormer as their repositories and as timm name them,
DeiT (which is timm's), VMamba in both versions. Names are facts of the released checkpoints.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Rules = tuple[tuple[str, str], ...]

_PYRAMID: Rules = (  # of the repositories that grew out of ConvNeXt's
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d+)\.", r"stages.\1.downsample."),
    (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
)
_MLP_HEAD: Rules = (
    (r"^head\.fc1\.", "head.pre_logits.fc."),
    (r"^head\.norm\.", "head.pre_logits.norm."),
    (r"^head\.fc2\.", "head.fc."),
    (r"^norm\.", "head.norm."),
)
_MAMBAOUT: Rules = (
    (r"(blocks\.\d+)\.fc1\.", r"\1.proj_in."),
    (r"(blocks\.\d+)\.fc2\.", r"\1.proj_out."),
    (r"(blocks\.\d+)\.conv\.", r"\1.mixer."),
    (r"(blocks\.\d+)\.ls\.gamma$", r"\1.scale.scale"),
)
_CONVNEXT: Rules = (
    (r"^stem\.0\.", "stem.conv1."),
    (r"^stem\.1\.", "stem.norm1."),
    (r"\.downsample\.0\.", ".downsample.norm."),
    (r"\.downsample\.1\.", ".downsample.conv."),
    (r"(blocks\.\d+)\.norm\.", r"\1.mlp.norm."),
    (r"\.(dwconv|conv_dw)\.", ".mixer."),
    (r"\.pwconv([12])\.", r".mlp.fc\1."),
    (r"\.gamma$", ".scale.scale"),
)
_METAFORMER: Rules = (
    (r"^stem\.conv\.", "stem.conv1."),
    (r"^stem\.(post_)?norm\.", "stem.norm1."),
    (r"\.pre_norm\.", ".norm."),
    (r"(blocks\.\d+)\.norm2\.", r"\1.mlp.norm."),
    (r"(blocks\.\d+)\.norm1\.", r"\1.norm."),
    (r"\.token_mixer\.pwconv1\.", ".proj_in."),
    (r"\.token_mixer\.act1\.", ".mixer.0."),
    (r"\.token_mixer\.dwconv\.", ".mixer.1."),
    (r"\.token_mixer\.(pwconv2|proj)\.", ".proj_out."),
    (r"\.token_mixer\.", ".mixer."),
    (r"\.res_scale1\.", ".res_scale."),
    (r"\.res_scale2\.", ".mlp_res_scale."),
)
_DEIT: Rules = (
    (r"^(cls_token|pos_embed)$", r"stem.\1"),
    (r"^patch_embed\.proj\.", "stem.conv1."),
    (r"^blocks\.(\d+)\.", r"stages.\1.blocks.0."),
    (r"(blocks\.\d+)\.norm2\.", r"\1.mlp.norm."),
    (r"(blocks\.\d+)\.norm1\.", r"\1.norm."),
    (r"\.attn\.qkv\.", ".mixer.qkv."),
    (r"\.attn\.proj\.", ".proj_out."),
    (r"^head\.", "head.fc."),
    (r"^norm\.", "head.norm."),
)
_VMAMBA: Rules = (
    (r"^patch_embed\.(0|proj)\.", "stem.conv1."),
    (r"^patch_embed\.(2|norm)\.", "stem.norm1."),
    (r"^patch_embed\.5\.", "stem.conv2."),
    (r"^patch_embed\.7\.", "stem.norm2."),
    (r"\.downsample\.1\.", ".downsample.conv."),
    (r"\.downsample\.3\.", ".downsample.norm."),
    (r"^layers\.", "stages."),
    (r"(blocks\.\d+)\.norm2\.", r"\1.mlp.norm."),
    (r"\.ln_1\.", ".norm."),
    (r"\.(op|self_attention)\.", ".op."),
    (r"\.op\.in_proj\.", ".proj_in."),
    (r"\.op\.out_proj\.", ".proj_out."),
    (r"\.op\.conv2d\.", ".mixer.conv."),
    (r"\.op\.out_norm\.", ".mixer.norm."),
    (r"\.op\.x_proj_weight$", ".mixer.scan.x_proj"),
    (r"\.op\.dt_projs_weight$", ".mixer.scan.dt_proj"),
    (r"\.op\.dt_projs_bias$", ".mixer.scan.dt_bias"),
    (r"\.op\.A_logs$", ".mixer.scan.A_log"),
    (r"\.op\.Ds$", ".mixer.scan.D"),
    (r"^(classifier\.)?head\.", "head.fc."),
    (r"^(classifier\.)?norm\.", "head.norm."),
)


@dataclass(frozen=True)
class _Source:
    """telltale: a pattern that one of its keys matches, and no other source's."""

    name: str
    telltale: str
    rules: Rules


_SOURCES = (
    _Source("MambaOut", r"^stages\.0\.0\.fc1\.", (*_PYRAMID, *_MLP_HEAD, *_MAMBAOUT)),
    _Source("timm's MambaOut", r"^stages\.0\.blocks\.0\.fc1\.", _MAMBAOUT),
    _Source(
        "ConvNeXt",
        r"^stages\.0\.0\.dwconv\.",
        (
            *_PYRAMID,
            *_CONVNEXT,
            (r"^norm\.", "head.norm."),
            (r"^head\.(weight|bias)", r"head.fc.\1"),
        ),
    ),
    _Source("timm's ConvNeXt", r"^stages\.0\.blocks\.0\.conv_dw\.", _CONVNEXT),
    _Source("MetaFormer", r"^stages\.0\.0\.token_mixer\.", (*_PYRAMID, *_MLP_HEAD, *_METAFORMER)),
    _Source(
        "timm's MetaFormer",
        r"^stages\.0\.blocks\.0\.token_mixer\.",
        (
            (r"^head\.fc\.fc1\.", "head.pre_logits.fc."),
            (r"^head\.fc\.norm\.", "head.pre_logits.norm."),
            (r"^head\.fc\.fc2\.", "head.fc."),
            *_METAFORMER,
        ),
    ),
    _Source("DeiT", r"^blocks\.0\.attn\.qkv\.", _DEIT),
    _Source("VMamba", r"^layers\.0\.blocks\.0\.(op|self_attention)\.", _VMAMBA),
)
KNOWN = tuple(source.name for source in _SOURCES)  # whose names are understood


def checkpoint_filter_fn(state_dict: Mapping[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """The weights under our names and in our shapes; those of nobody known come back as they are.

    state_dict: as loaded, or inside of what the repositories save around it ('model',
    'state_dict').
    """
    given = unwrapped(state_dict)
    own = model.state_dict()
    source = next((s for s in _SOURCES if any(re.match(s.telltale, k) for k in given)), None)
    if given.keys() <= own.keys() or source is None:
        return given
    found = {_renamed(key, source): value for key, value in given.items()}
    return {
        key: value.reshape(own[key].shape)
        if key in own and _same_layout(value.shape, own[key].shape)
        else value
        for key, value in found.items()
    }


def unwrapped(saved: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights by name, out of what training scripts save around them and put before them."""
    for wrapper in ("model_ema", "state_dict_ema", "model", "state_dict"):
        if isinstance(saved.get(wrapper), Mapping):
            saved = saved[wrapper]
            break
    return {
        str(key).removeprefix("module.").removeprefix("_orig_mod."): value
        for key, value in saved.items()
    }


def _same_layout(theirs: Sequence[int], ours: Sequence[int]) -> bool:
    """Whether their numbers are ours in the same order: 1 x 1 convolutions for linear layers, and
    the parameters of all directions along one axis."""

    def trimmed(shape: Sequence[int]) -> list[int]:
        sides = list(shape)
        while len(sides) > 1 and sides[-1] == 1:
            del sides[-1]
        return sides

    given, needed = trimmed(theirs), trimmed(ours)
    return given == needed or given == trimmed([math.prod(ours[:2]), *ours[2:]])


def _renamed(key: str, source: _Source) -> str:
    for pattern, replacement in source.rules:
        key = re.sub(pattern, replacement, key)
    if source.name == "VMamba":  # its downsamplers end a stage, ours begin the next
        key = re.sub(
            r"^stages\.(\d+)\.downsample\.",
            lambda found: f"stages.{int(found[1]) + 1}.downsample.",
            key,
        )
    return key
