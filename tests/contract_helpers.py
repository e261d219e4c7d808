"""Architectures for the tests of timm's contract, and networks of them that are made quickly."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.errors import ArchitectureError
from hybridnas.reference import REFERENCES
from hybridnas.space import SearchSpace
from hybridnas.timm_entry import build

IMAGES = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))
_HYBRID, _RNG = SearchSpace.load("hybrid"), random.Random(0)
# One of every family whole (LocalVMamba is VMamba in other directions); of the others a block or
# two a stage are enough, since depth adds time and no other code. (With HYBRIDNAS_WHOLE=1 all run
# whole, and twice as many random ones: that takes twenty minutes.)
ALL = os.environ.get("HYBRIDNAS_WHOLE") == "1"
RANDOM = {f"hybrid{i}": _HYBRID.sample(_RNG) for i in range(50 if ALL else 25)}
WHOLE = (
    "mambaout_femto",
    "caformer_s18",
    "convnext_tiny",
    "vmamba_tiny_s2l5",
    "vim_tiny",
    "mambavision_tiny",
    "deit_tiny",
    "hybrid0",
)


def shallow(architecture: Architecture) -> Architecture:
    """First and last block of every stage, once where they are equal (but two in all, of which
    features can be taken): all that differs but depth, in little time."""

    def ends(stage: Stage) -> tuple[Block, ...]:
        first, last = stage.blocks[0], stage.blocks[-1]
        return (first,) if first == last and len(architecture.stages) > 1 else (first, last)

    stages = tuple(dataclasses.replace(s, blocks=ends(s)) for s in architecture.stages)
    return dataclasses.replace(architecture, stages=stages)


def narrow(architecture: Architecture) -> Architecture:
    """Every stage at a quarter of its width, or the next multiple of 8 that its blocks take: with
    maps of a few pixels most of the time goes into weights."""
    if ALL:
        return architecture

    def least(stage: Stage) -> Stage:
        for width in range(8 * -(-stage.width // 32), stage.width, 8):
            with contextlib.suppress(ArchitectureError):
                return dataclasses.replace(stage, width=width)
        return stage

    return dataclasses.replace(architecture, stages=tuple(map(least, architecture.stages)))


def brief(architecture: Architecture) -> Architecture:
    """The blocks that bring something new (an option, a direction of a scan, a window), of two
    stages at least: whoever traces takes as long for each block as for the first."""
    if ALL or len(architecture.stages) == 1:
        return architecture
    seen: set[str] = set()

    def is_new(block: Block, window: int | None) -> bool:
        options = dataclasses.asdict(block.mixer)
        parts = {repr(block.form), str(window), *options.pop("directions", "").split()}
        parts.add(f"{block.mixer_name} {options}")
        found = not parts <= seen
        seen.update(parts)
        return found

    stages: list[Stage] = []
    for stage in architecture.stages:
        blocks = tuple(block for block in stage.blocks if is_new(block, stage.window))
        if blocks or len(stages) < 2:
            stages.append(dataclasses.replace(stage, blocks=blocks or stage.blocks[:1]))
    return dataclasses.replace(architecture, stages=tuple(stages))


def distinct(architectures: Mapping[str, Architecture]) -> list[str]:
    """Names of the first of those that differ in widths only, since width adds time and no other
    code either."""
    first: dict[str, str] = {}
    for name, architecture in architectures.items():
        raw = architecture.to_dict()
        for stage in raw["stages"]:
            del stage["width"]
        first.setdefault(json.dumps(raw, sort_keys=True), name)
    return [*first.values()]


def _by_name() -> dict[str, Architecture]:
    every = {name: r.architecture for name, r in REFERENCES.items()} | RANDOM
    if ALL:
        return every
    return {name: a if name in WHOLE else shallow(a) for name, a in every.items()}


ARCHITECTURES = _by_name()
# What all tests but one take: of LocalVMamba the size that walks in all of its directions.
_SOME = {name: a for name, a in ARCHITECTURES.items() if name != "localvmamba_small"}
DISTINCT = [*ARCHITECTURES] if ALL else distinct(_SOME)
# Those that are compiled, exported and scripted, each of which takes seconds: shallow, none that
# differs from a sister in numbers alone (or in having layer scale, as most others), and of the
# random ones three which with the published ones have every value of every option.
_THREE = ("hybrid3", "hybrid6", "hybrid7")
_ALIKE = {"mambaout_base_tall_rw", "mambavision_small", "mambavision_base", *RANDOM.keys() - _THREE}
_COMPILED = {name: shallow(a) for name, a in _SOME.items() if name not in _ALIKE}
COMPILED = [*ARCHITECTURES] if ALL else distinct(_COMPILED)


def network(architecture: Architecture, seed: int = 0, **kwargs: Any) -> Any:
    """A network in evaluation with random weights that are drawn at once, for 100 M of them."""
    net = build(architecture, **{"num_classes": 10, "device": "meta", **kwargs})
    return randomised(net.to_empty(device="cpu"), seed).eval()


def randomised(net: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights, none near zero, and statistics of no data."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.03, generator=generator)
        else:
            parameter.data.uniform_(0.5, 1.5, generator=generator)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    return net
