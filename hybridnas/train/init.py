"""Where a training starts from: fresh weights, or those of a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..checkpoint import KNOWN, checkpoint_filter_fn, unwrapped
from ..config import Protocol
from ..environment import first_line
from ..errors import ConfigError, DataError
from ..network import HybridNet

# What depends on a classifier's classes; everything else is the architecture's.
_CLASSIFIER = "head.fc."

FRESH = "none"  # as a protocol's `init`


def start_from(model: nn.Module, path: Path) -> None:
    """Gives the network in a task's model the weights of a classifier of the same architecture.

    model: a classifier, UPerNet or Detector on any device. path: `read_weights`. The heads of
    dense tasks stay fresh, and so does a classifier's last layer where the file's is for other
    classes. Raises ConfigError where the weights are of another architecture, before any is
    changed, and DataError.
    """
    load_backbone(model, read_weights(path, network_of(model)), str(path))


def initialise(model: nn.Module, protocol: Protocol) -> None:
    """`start_from` the file that a protocol's `init` names, if any; DataError where it has changed
    since the protocol was made."""
    if protocol.init == FRESH:
        return
    path = Path(protocol.init)
    if protocol.init_digest not in ("", file_digest(path)):
        raise DataError(f"{path} has changed since it became the start of this study (its sha256)")
    start_from(model, path)


def load_backbone(model: nn.Module, weights: Mapping[str, Tensor], where: str = "") -> None:
    """As `start_from`, with weights by our names that are in memory. where: for the message."""
    network_of(model).load_state_dict(fitting_weights(model, weights, where))


def fitting_weights(
    model: nn.Module, weights: Mapping[str, Tensor], where: str = ""
) -> dict[str, Tensor]:
    """All that the network in a model starts with, as `load_backbone`; nothing is changed."""
    network = network_of(model)
    wanted = network.state_dict()
    given = dict(weights)
    if not _has_head(wanted):  # of a dense task's network
        given = {name: value for name, value in given.items() if not name.startswith("head.")}
    elif not _fits(given, wanted, _CLASSIFIER):
        kept = {name: value for name, value in wanted.items() if name.startswith(_CLASSIFIER)}
        others = {n: value for n, value in given.items() if not n.startswith(_CLASSIFIER)}
        given = {**others, **kept}
    wrong = sorted(wanted.keys() ^ given.keys()) or sorted(
        name for name, value in given.items() if value.shape != wanted[name].shape
    )
    if wrong:
        whose = f"the weights of {where}" if where else "the weights"
        raise ConfigError(
            f"{whose} are of another architecture than {network.architecture.short}: {len(wrong)} "
            f"of {len(wanted)} do not fit, among them {', '.join(wrong[:3])}"
        )
    return given


def network_of(model: nn.Module) -> HybridNet:
    """The network that a task's model is, or is built on."""
    return next(module for module in model.modules() if isinstance(module, HybridNet))


def read_weights(path: Path, network: HybridNet) -> dict[str, Tensor]:
    """The weights in a .pth or .safetensors file under the names of our network, whoever named
    them (hybridnas.checkpoint). DataError for a file that holds none, or of no known network."""
    try:
        loaded = load_file(path) if path.suffix == ".safetensors" else _torch_load(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # whatever bytes that are no pickle make of themselves
        what = f"{type(error).__name__}: {first_line(error)}"
        raise DataError(f"{path} holds no weights that can be read ({what:.200})") from None
    named = unwrapped(loaded) if isinstance(loaded, Mapping) else {}
    if not named or not all(isinstance(value, Tensor) for value in named.values()):
        raise DataError(
            f"{path} must hold weights by name, got {type(loaded).__name__} with other things"
        )
    found = checkpoint_filter_fn(named, network)
    if not found.keys() & network.state_dict().keys():
        raise DataError(
            f"{path}: weights with names such as {next(iter(found), 'none')!r} are of no known "
            f"network; known: hybridnas's own, {', '.join(KNOWN)}"
        )
    return found


def file_digest(path: Path) -> str:
    """sha256 of a file of weights; DataError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _has_head(wanted: Mapping[str, Tensor]) -> bool:
    return any(name.startswith("head.") for name in wanted)


def _fits(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], prefix: str) -> bool:
    shapes = [
        {name: value.shape for name, value in of.items() if name.startswith(prefix)}
        for of in (given, wanted)
    ]
    return shapes[0] == shapes[1]


def _torch_load(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)
