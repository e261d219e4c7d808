"""What this machine can do for hybridnas, and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from ..config import Task
from ..counting import number_of
from ..errors import HybridnasError
from ..kernels import BACKENDS, VARIABLE, choose
from ..store import Store, redact
from ..tasks import TASKS
from ..user_paths import expanded


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ok: False when something could be better; advice says what to do."""

    what: str
    ok: bool
    found: str
    advice: str = ""


def examine(storage: str, data: str | None, task: str | None = None) -> list[Finding]:
    """All findings, most basic first; nothing is written, and Ray is not started.

    data: a folder to look at besides. task: that it is for; None: the one whose layout it has."""
    cpus = os.cpu_count() or 1
    findings = [
        Finding(
            "python",
            True,
            f"{platform.python_version()}, {number_of(cpus, 'CPU')}, {platform.platform()}",
        ),
        *(_package(name) for name in ("torch", "timm", "optuna", "ray", "sqlalchemy")),
        _gpu(),
        _optional("triton", "comes with torch's CUDA builds on Linux"),
        _optional("mamba_ssm", "only needed to compare kernels with it"),
        _optional("matplotlib", "pip install 'hybridnas[plots]' for `hybridnas pareto --plot`"),
        _optional("psycopg", "pip install 'hybridnas[postgres]' to use PostgreSQL"),
        _kernels(),
        _database(storage),
        _data(Task()),
    ]
    if data is not None:
        raw = {"name": task or _task_laid_out(expanded(data)), "data": data}
        findings.append(_data(Task.model_validate(raw)))
    return findings


def _package(name: str) -> Finding:
    return Finding(name, True, importlib.metadata.version(name))


def _optional(name: str, advice: str) -> Finding:
    there = importlib.util.find_spec(name) is not None
    return Finding(name, there, "installed" if there else "not installed", "" if there else advice)


def _gpu() -> Finding:
    if not torch.cuda.is_available():
        return Finding(
            "gpu", False, "no CUDA device", "searches run on the CPU: use the space hybrid_small"
        )
    names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    text = ", ".join(f"{n.name} ({n.total_memory / 2**30:.0f} GiB)" for n in names)
    return Finding("gpu", True, f"{text}, CUDA {torch.version.cuda}")


def _kernels() -> Finding:
    """Which kernels a model's operators run here, and why not the fast ones."""
    try:
        x = torch.empty(0, device="cuda" if torch.cuda.is_available() else "cpu")
        found = choose("kernels", None, x, BACKENDS)
    except (RuntimeError, ValueError) as error:
        return Finding("kernels", False, str(error), f"set {VARIABLE} to auto, or leave it unset")
    if found == "torch" and x.is_cuda:
        return Finding("kernels", False, "torch", "Triton and a GPU from Ampere on are much faster")
    return Finding("kernels", True, found)


def _database(storage: str) -> Finding:
    what = f"database {redact(storage)}"
    try:
        with Store.open(storage, create=False) as store:
            return Finding(what, True, number_of(len(store.study_names()), "study"))
    except HybridnasError as error:
        return Finding(what, False, str(error))


def _task_laid_out(folder: Path) -> str:
    """The task whose data sets are laid out as a folder is."""
    if any(folder.glob("annotations/instances_*.json")):
        return "detection"
    dense = all((folder / name).is_dir() for name in ("images", "annotations"))
    return "segmentation" if dense else "classification"


def _data(task: Task) -> Finding:
    what, known = f"data {task.data}", TASKS[task.name]
    try:
        train, val = known.splits(task)
        digest = known.data_digest(train, val)
    except HybridnasError as error:
        return Finding(what, False, str(error), f"as data for {task.name}")
    sizes = f"{len(train)} {task.train}, {len(val)} {task.val}, {len(train.class_names)} classes"
    return Finding(what, True, f"{task.name}: {sizes}, digest {digest}")
