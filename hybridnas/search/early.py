"""What can be refused of a study before torch is imported, which takes seconds."""

from __future__ import annotations

from ..config import Study
from ..data_folder import check_data
from ..errors import HybridnasError
from ..space import SearchSpace
from ..user_paths import expanded


def check_early(study: Study) -> None:
    """Raises HybridnasError where its space is wrong, or data or the home of its artifacts are not
    there at all: `make_plan` and the search would, too, and look closer."""
    SearchSpace.load(study.space)
    if "://" not in study.artifacts:
        expanded(study.artifacts)
    for name, part in study.tasks.items():
        try:
            check_data(part.task.name, part.task.data)
        except HybridnasError as error:
            raise about(name, error) from None


def about(task: str, error: HybridnasError) -> HybridnasError:
    """The error, with the name of the study's other task that it is about."""
    return type(error)(f"also.{task}: {error}") if task else error
