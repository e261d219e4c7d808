"""The model card of an export: what the model is, how it was found, how tools load it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from ..architecture import Architecture
from ..config import Protocol
from ..cost import Cost
from ..counting import CONVENTION, number_of, pixels
from ..data import MEAN, STD
from ..objectives import STANDARD_ERRORS
from ..task_defaults import TASK_DEFAULTS

DRAWING = "architecture.svg"
PATH = "PATH_OF_THIS_FOLDER"  # stands for where the reader has it
_TEMPLATES = files(__package__) / "templates"
_TAGS = {  # of Hugging Face's hub
    "classification": "image-classification",
    "segmentation": "image-segmentation",
    "detection": "object-detection",
}
_DENSE_USES = {"segmentation": "use_segmenter.md", "detection": "use_detector.md"}
_WITH = {"classification": "", "segmentation": " with UperNet", "detection": " with Mask R-CNN"}


@dataclass(frozen=True)
class Origin:
    """Where a model comes from: what its card and its config say of it.

    A trial of a study found and trained it, or a recipe trained it.
    again: what the trial's final retraining said, in words; empty without one. unseen: the command
    that scores a trial on images that the search did not choose by; None: the data have none.
    """

    metrics: Mapping[str, float | None]
    protocol: Protocol
    class_names: tuple[str, ...]
    machine: Mapping[str, object]
    versions: Mapping[str, str]
    git_commit: str | None
    study: str | None = None
    trial: int | None = None
    recipe: str | None = None
    again: str = ""
    unseen: str | None = None


@dataclass(frozen=True)
class Source:
    """Of a model that no study found: what it was called, and the file of its weights."""

    name: str | None = None
    weights: str | None = None


def template(name: str) -> str:
    """A text that exports are made of."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def model_card(
    architecture: Architecture,
    known: Cost,
    origin: Origin | Source,
    package: str | None,
    extras: Mapping[str, str],
) -> str:
    """README.md of an export.

    package: the name to import, of a stand-alone one. extras: other files by name, with what each
    is.
    """
    stages = "\n".join(
        f"| {s.stage} | {line} | {s.tokens} | {s.long_sequence_ratio:.2f} "
        f"| {s.params:,} | {s.macs / 1e6:,.2f} |"
        for s, line in zip(known.stages, architecture.describe(), strict=True)
    )
    task, use = "classification", ""
    if isinstance(origin, Origin) and (task := origin.protocol.task.name) in _DENSE_USES:
        use = _use_dense(architecture, origin)
    use = use or _use(architecture, package)
    return f"""---
library_name: timm
tags: [{_TAGS[task]}, hybridnas]
---
# {_title(architecture, origin)}

![{architecture.short}]({DRAWING})

{_how_found(origin)}

- architecture `{architecture.digest}`, {known.num_classes} classes
- {known.params:,} parameters, {known.macs / 1e6:,.2f} M MACs at {pixels(known.input_size)}\
{_WITH[task]} ({CONVENTION})

| stage | blocks | tokens L | L / 6D | parameters | MACs (M) |
|---|---|---|---|---|---|
{stages}

{use}
{_files(extras)}{_rescore(origin)}"""


def _use(architecture: Architecture, package: str | None) -> str:
    """How timm loads it, and what builds detectors and segmentation networks on it."""
    if package is None:
        start = f"{_own_mixers(architecture)}{template('use_timm.md')}"
        model = f"local-dir:{PATH}"
    else:
        start, model = template("use_standalone.md").replace("PACKAGE", package), package
    num, stride = len(architecture.stages), architecture.stem.stride
    text = start
    if stride == 4 and 1 < num <= 4:  # what segmentation-models-pytorch knows how to use
        text += template("use_segmentation.md")
    if num > 1 and stride.bit_count() == 1:  # torchvision reads scales as powers of two
        text += template("use_detection.md")
    imported = "hybridnas" if package is None else package
    for word, value in (
        ("IMPORTED", f"import {imported}  # registers the model with timm"),
        ("MODEL", model),
        ("ENCODER_DEPTH", str(num + 1)),
        ("MAPS", str([str(i) for i in range(num)])),
        ("SIZES", str(tuple((32 * 2**i,) for i in range(num + 1)))),
        ("RATIOS", f"((0.5, 1.0, 2.0),) * {num + 1}"),
    ):
        text = text.replace(f"<{word}>", value)
    return text


def _use_dense(architecture: Architecture, origin: Origin) -> str:
    """How hybridnas loads the model with its head, and timm its backbone."""
    protocol = origin.protocol
    text = _own_mixers(architecture) + template(_DENSE_USES[protocol.task.name])
    for word, value in (
        ("FOLDER", PATH),
        ("MODEL", f"local-dir:{PATH}"),
        ("CLASSES", str(len(origin.class_names))),
        ("RESOLUTION", str(protocol.fidelity.resolution)),
        ("MEAN", str(list(MEAN))),
        ("STD", str(list(STD))),
    ):
        text = text.replace(f"<{word}>", value)
    return text


def _own_mixers(architecture: Architecture) -> str:
    """What must be importable besides hybridnas."""
    modules = own_modules(architecture)
    return f"Needs on Python's path: {', '.join(f'`{m}`' for m in modules)}.\n\n" if modules else ""


def own_modules(architecture: Architecture) -> list[str]:
    """The modules of mixers that are not hybridnas's."""
    names = {block.mixer_name for stage in architecture.stages for block, _ in stage.runs()}
    return sorted({name.partition(":")[0] for name in names if ":" in name})


def _files(extras: Mapping[str, str]) -> str:
    if not extras:
        return ""
    return "\n".join(f"- `{name}`: {what}" for name, what in extras.items()) + "\n\n"


def _title(architecture: Architecture, origin: Origin | Source) -> str:
    name = origin.name if isinstance(origin, Source) else None
    return f"{name}: {architecture.short}" if name else architecture.short


def _rescore(origin: Origin | Source) -> str:
    if isinstance(origin, Source):
        return ""
    exactly = ", to the last image" if origin.protocol.task.name == "classification" else ""
    return f"`hybridnas evaluate {PATH}` counts the score again{exactly}.\n"


def _maker(origin: Origin) -> str:
    if origin.study is None:
        return f"Trained by hybridnas with the recipe `{origin.recipe}`"
    return f"Found by hybridnas: study `{origin.study}`, trial {origin.trial}"


def _chosen(origin: Origin) -> str:
    """That a search saw the images of the score, and how to score others."""
    if origin.study is None:
        return ""
    said = f" The search chose by the split `{origin.protocol.task.val}`, so the score flatters"
    if origin.unseen is None:
        return f"{said}; the data have no other."
    how = f"`{origin.unseen}` scores images that chose nothing"
    return f"{said}; {how}, if the data have such a split."


def _how_found(origin: Origin | Source) -> str:
    if isinstance(origin, Source):
        if origin.weights is None:
            return "**Untrained**: random weights."
        return f"Trained elsewhere: the weights are those of the file `{origin.weights}`."
    protocol, metrics = origin.protocol, origin.metrics
    measures = TASK_DEFAULTS[protocol.task.name].measures
    scores = [
        f"{name} {value:.4f}"
        for name, value in metrics.items()
        if name in measures and value is not None
    ]
    images = metrics.get("num_images")
    for name in measures:
        if (error := metrics.get(STANDARD_ERRORS.get(name, ""))) is not None:
            scores.append(f"standard error of {name} {error:.4f}")
    counted = "" if images is None else f" on {images:.0f} images"
    recipe = json.dumps(protocol.recipe.model_dump(mode="json"), sort_keys=True)
    return (
        f"{_maker(origin)}. Scored "
        f"{', '.join(scores)}{counted} of the split `{protocol.task.val}` (data "
        f"`{protocol.data_digest}`), in fp32 on {origin.machine.get('device')} with batch size "
        f"{origin.machine.get('eval_batch_size')}, after "
        f"{number_of(protocol.fidelity.epochs, 'epoch')} at {protocol.fidelity.resolution} px, "
        f"seed {protocol.seed}.{origin.again}{_chosen(origin)}\n\n"
        f"Protocol `{protocol.digest}`, recipe `{recipe}`"
    )
