"""What a user means by STUDY and ARCH."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..architecture import Architecture
from ..cost import Cost, cost
from ..errors import ArchitectureError, ConfigError, meant
from ..reference import REFERENCES
from ..search.counted import counted_cost
from ..search.rows import Row
from ..search.view import StudyView
from ..store import Store
from ..strict_yaml import read_yaml


def known_study(text: str) -> str:
    """The name under which a study stands in the database."""
    path = Path(text)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"no file {text}")
        name = read_yaml(path).get("name")
        if isinstance(name, str):
            return name
        raise ConfigError(f"{text}: 'name' is missing")
    return text


@dataclass(frozen=True)
class Named:
    """An architecture with the trial it came from, if from one."""

    architecture: Architecture
    view: StudyView | None = None
    row: Row | None = None

    @property
    def task(self) -> str:
        """A study's; classification for what is of no study."""
        return self.view.study.task.name if self.view else "classification"

    @property
    def head_width(self) -> int | None:
        return self.view.study.task.head_width if self.view else None

    @property
    def resolution(self) -> int:
        """The image size that a study used; 224 for what is of no study."""
        return self.view.study.fidelity.resolution if self.view else 224

    @property
    def num_classes(self) -> int:
        """Those of a study's data; ImageNet's 1000 for what is of no study."""
        if self.view is None:
            return 1000
        return self.view.num_classes

    def cost(self) -> Cost:
        """As its study counts it; at 224 px with a classifier what is of no study."""
        if self.view is None:
            return cost(self.architecture)
        return counted_cost(self.view.study, self.architecture, self.view.num_classes)


def architecture_of(text: str, storage: str) -> Named:
    """What ARCH stands for: a reference's name, a JSON/YAML file, or STUDY:TRIAL.

    Raises ArchitectureError that says what is allowed.
    """
    if text in REFERENCES:
        return Named(REFERENCES[text].architecture)
    if Path(text).is_file():
        return Named(Architecture.load(Path(text)))
    study, colon, number = text.rpartition(":")
    if colon and study and number.isdecimal():
        with Store.open(storage, create=False) as store:
            view = StudyView(known_study(study), store)
        row = view.row(int(number))
        return Named(row.architecture, view, row)
    raise ArchitectureError(
        f"no architecture {text!r}{meant(text, REFERENCES)}: give the name of one that "
        f"`hybridnas archs` lists, a JSON or YAML file, or STUDY:TRIAL"
    )
