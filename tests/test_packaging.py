"""What is shipped, what importing does, and how long files and functions may be."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hybridnas.config import parse_study
from hybridnas.reference import reference
from hybridnas.resources import find, shipped
from hybridnas.space import SearchSpace
from hybridnas.strict_yaml import read_yaml

ROOT = Path(__file__).parent.parent
SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
SOURCES = [
    path
    for folder in ("hybridnas", "kernels/hybridnas_kernels", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
MAX_FILE_LINES, MAX_FUNCTION_LINES = 300, 60
KERNELS = "triton_"  # what their files begin with; kernels are as long as they are

# Run apart, in an empty folder that is also the home: whatever importing leaves there shows.
IMPORT_EVERYTHING = """
import importlib, logging, os, random, sys, threading
from pathlib import Path


def import_all(package, without):
    folder = Path(importlib.import_module(package).__file__).parent
    for path in folder.rglob("*.py"):
        words = path.relative_to(folder.parent).with_suffix("").parts
        if not any(word.startswith(without) for word in words):
            importlib.import_module(".".join(words).removesuffix(".__init__"))


import torch

import_all("hybridnas_kernels", "triton_")
ours = [name for name in sys.modules if name.startswith("hybridnas_kernels")]
assert not [name for name in ours if ".triton_" in name], "kernels come at first use"
import sklearn, timm  # these two set variables of the environment

before = dict(os.environ), random.getstate(), logging.root.level
import_all("hybridnas", ("search", "dashboard", "cli", "migrations"))
assert "hybridnas.evaluate" in sys.modules
assert "ray" not in sys.modules, "only hybridnas.search imports ray"
assert not torch.cuda.is_initialized()
assert threading.active_count() == 1
assert before == (dict(os.environ), random.getstate(), logging.root.level)
assert not logging.root.handlers
assert not logging.getLogger("hybridnas").handlers
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a freshly built wheel holds."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("hybridnas-*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "content")
    return folder / "content"


def test_the_wheel_installs_two_packages_and_no_other_name(wheel: Path) -> None:
    top = {path.name for path in wheel.iterdir()}
    info = {name for name in top if name.endswith(".dist-info")}
    assert len(info) == 1
    assert top - info == {"hybridnas", "hybridnas_kernels"}


def test_the_wheel_holds_all_sources_and_data(wheel: Path) -> None:
    for package in ("hybridnas", "kernels/hybridnas_kernels"):
        folder = ROOT / package
        for path in folder.rglob("*.py"):
            assert (wheel / folder.name / path.relative_to(folder)).is_file(), path
        assert (wheel / folder.name / "py.typed").is_file()
    data = wheel / "hybridnas" / "_data"
    shipped_yaml = {path.relative_to(data).as_posix() for path in data.rglob("*.yaml")}
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / "studies/found").iterdir()}
    named = {f"{path.parent.name}/{path.name}" for path in (*SPACES, *STUDIES)}
    assert shipped_yaml == named | found
    benchmarks = {path.name for path in (ROOT / "kernels" / "bench").glob("*.py")}
    assert {path.name for path in (data / "bench").glob("*.py")} == benchmarks
    trainings = {path.name for path in (data / "bench_training").glob("*.py")}
    assert trainings == {"bench_training.py", "bench_short_training.py", "plain_training.py"}


def test_an_installed_wheel_finds_its_data(wheel: Path) -> None:
    code = (
        "from hybridnas.space import SearchSpace; print(SearchSpace.load('hybrid').size())\n"
        "from hybridnas.resources import shipped; print(*shipped('recipes'))"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    done = subprocess.run(
        command, cwd=wheel, env=environment, capture_output=True, text=True, check=True
    )
    size, recipes = SearchSpace.load("hybrid").size(), " ".join(shipped("recipes"))
    assert done.stdout == f"{size}\n{recipes}\n"


def test_the_folder_of_the_kernels_is_no_package() -> None:
    """Hugging Face's is called `kernels`: an `__init__.py` here would take its place."""
    assert (ROOT / "kernels" / "hybridnas_kernels" / "__init__.py").is_file()
    assert not (ROOT / "kernels" / "__init__.py").exists()
    assert not list((ROOT / "hybridnas").glob("_data"))


def test_importing_does_nothing(tmp_path: Path) -> None:
    environment = {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}",
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_EVERYTHING],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    if path.name.startswith(KERNELS):
        return
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    }
    assert long == {}


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_shipped_space_loads_under_its_name(path: Path) -> None:
    space = SearchSpace.load(path)
    assert space.name == path.stem
    assert space.spec.description
    assert SearchSpace.load(path.stem).spec == space.spec


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_shipped_study_loads_under_its_name(path: Path) -> None:
    study = parse_study(read_yaml(path), str(path))
    assert study.name == path.stem
    assert study.description
    assert SearchSpace.load(study.space).size() > 1
    for name in study.references or ():
        reference(name)


def test_shipped_files_are_found_by_name_or_path(tmp_path: Path) -> None:
    assert shipped("search_spaces") == {path.stem: path for path in SPACES}
    assert shipped("studies") == {path.stem: path for path in STUDIES}
    assert find("search_spaces", "hybrid") == ROOT / "search_spaces" / "hybrid.yaml"
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\n")
    assert find("studies", str(mine)) == mine
