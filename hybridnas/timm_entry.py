"""Makes our networks timm models: `timm.create_model("hybridnas", architecture=...)`, and every
reference architecture by its name, `timm.create_model("hybridnas_vmamba_tiny_s2l5")`.

timm may be imported first by any of our modules that build networks, and imports this then: so
those are imported only once a model is made.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from .architecture import Architecture
from .counting import Size
from .errors import ConfigError
from .reference import REFERENCES, reference

if TYPE_CHECKING:
    from torch import nn


def pretrained_cfg(architecture: Architecture, input_size: int = 224) -> dict[str, Any]:
    """timm's description of a network for square images of that size, without weights."""
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, input_size, input_size),
        "pool_size": _last_map(architecture, input_size),
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stem.conv1",
        "classifier": "head.fc",
        "license": "apache-2.0",
    }


def _last_map(architecture: Architecture, input_size: int) -> Size:
    """The size of the map after the last stage, for square images of that size."""
    if architecture.stem.token_place != "none":
        return (input_size // architecture.stem.stride,) * 2
    widths = [stage.width for stage in architecture.stages]
    try:
        _, at = architecture.stem.count(3, widths[0], (input_size, input_size))
        for narrow, wide in itertools.pairwise(widths):
            _, at = architecture.downsample.count(narrow, wide, at)
    except ConfigError:  # nothing is left: timm asks for the size before it sees an image
        return 1, 1
    return at


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
    drop_rate, drop_path_rate, global_pool, device, dtype, ...
    """
    return hybridnas(architecture=architecture, num_classes=num_classes, **timm_kwargs)


def _create(name: str, architecture: Architecture, pretrained: bool, **kwargs: Any) -> nn.Module:
    from .checkpoint import checkpoint_filter_fn
    from .network import HybridNet, default_features

    return build_model_with_cfg(
        HybridNet,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": default_features(architecture), "feature_cls": "getter"},
        architecture=architecture,
        **kwargs,
    )


def _reference_entry(name: str) -> Callable[..., nn.Module]:
    def entry(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _create(f"hybridnas_{name}", reference(name), pretrained, **kwargs)

    entry.__name__ = entry.__qualname__ = f"hybridnas_{name}"
    entry.__doc__ = f"The reference architecture {name}, without weights."
    return entry


# timm looks this name up in the module of a registered model.
_cfgs: dict[str, Any] = {
    f"hybridnas_{name}": pretrained_cfg(known.architecture) for name, known in REFERENCES.items()
}
default_cfgs = generate_default_cfgs({"hybridnas": _cfgs["hybridnas_mambaout_tiny"]} | _cfgs)


@register_model
def hybridnas(
    pretrained: bool = False,
    *,
    architecture: Architecture | Mapping[str, Any] | str = "mambaout_tiny",
    **kwargs: Any,
) -> nn.Module:
    """timm's entry point. architecture: a value, its mapping, its JSON, or a reference's name.

    The default is there for tools that make every model that timm lists.
    """
    shape = as_architecture(architecture)
    if kwargs.get("pretrained_cfg") is None:  # an exported model brings its own
        given = kwargs.get("pretrained_cfg_overlay") or {}
        kwargs["pretrained_cfg_overlay"] = {**pretrained_cfg(shape), **given}
    return _create("hybridnas", shape, pretrained, **kwargs)


for _name in REFERENCES:
    register_model(_reference_entry(_name))
