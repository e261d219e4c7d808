"""Makes our networks timm models: `timm.create_model("hybridnas", architecture=...)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from .architecture import Architecture
from .network import HybridNet
from .reference import reference

# timm looks this name up in the module of a registered model.
default_cfgs = generate_default_cfgs(
    {
        "hybridnas": {
            "url": "",
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "pool_size": (7, 7),
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": IMAGENET_DEFAULT_MEAN,
            "std": IMAGENET_DEFAULT_STD,
            "first_conv": "stem.conv1",
            "classifier": "head.fc",
            "license": "apache-2.0",
        }
    }
)


@register_model
def hybridnas(
    pretrained: bool = False,
    *,
    architecture: Architecture | Mapping[str, Any] | str,
    **kwargs: Any,
) -> nn.Module:
    """timm's entry point. architecture: a value, its mapping, its JSON, or a reference's name."""
    shape = as_architecture(architecture)
    features = {"out_indices": tuple(range(len(shape.stages))), "feature_cls": "getter"}
    return build_model_with_cfg(
        HybridNet, "hybridnas", pretrained, feature_cfg=features, architecture=shape, **kwargs
    )


def as_architecture(given: Architecture | Mapping[str, Any] | str) -> Architecture:
    """What somebody means by an architecture, as the value."""
    if isinstance(given, Architecture):
        return given
    if isinstance(given, str):
        is_json = given.lstrip().startswith("{")
        return Architecture.from_json(given) if is_json else reference(given)
    return Architecture.from_dict(given)


def build(architecture: Architecture, num_classes: int = 1000, **timm_kwargs: Any) -> nn.Module:
    """The architecture's network as a timm model, with fresh weights.

    timm_kwargs: whatever `timm.create_model` takes: features_only, out_indices, in_chans,
    drop_rate, drop_path_rate, global_pool, ...
    """
    return hybridnas(architecture=architecture, num_classes=num_classes, **timm_kwargs)
