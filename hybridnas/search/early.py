"""What can be refused of a study before torch is imported, which takes seconds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..config import Study, parent_study, parse_study
from ..data_folder import check_data
from ..errors import ConfigError, HybridnasError
from ..space import SearchSpace
from ..store import Store
from ..user_paths import expanded
from .studies import has_trials, written_out

# What a resumed study may change: when to stop, where to run, who proposes.
_FREE = {
    *("description", "budget", "halving", "final", "resources", "sampler"),
    *("artifacts", "keep_weights", "references"),
}
# Where files stand that a plan looks into.
_FILES = ("init", "latency")


def check_early(study: Study) -> None:
    """Raises HybridnasError where its space is wrong, or data, splits of them or the home of its
    artifacts are not there: `make_plan` and the search would, too, and look closer."""
    SearchSpace.load(study.space)
    if "://" not in study.artifacts:
        expanded(study.artifacts)
    for name, part in study.tasks.items():
        try:
            task = part.task
            check_data(task.name, task.data, task.train, task.val)
        except HybridnasError as error:
            raise about(name, error) from None


def check_stored(study: Study, store: Store, resume: bool) -> None:
    """Raises ConfigError as `check_registered` does, but for what only data and files can tell."""
    known = known_config(study.name, store, resume)
    if known is not None:
        now = written_out(study, SearchSpace.load(study.space))
        check_unchanged(study.name, now, known, besides=_FILES)


def known_config(name: str, store: Store, resume: bool) -> Mapping[str, Any] | None:
    """What the database has of a study that goes on; None: it is a new one.

    One without a trial yet (Ray could not be started, say) is as good as new. Raises ConfigError
    where it exists and resume is not asked for, and for the name of a twin test's or a
    calibration's.
    """
    if parent_study(name) is not None:
        raise ConfigError(
            f"study {name!r}: what is called so holds the trainings of a twin test or a "
            f"calibration, and the command that began it (`hybridnas ablate`, `hybridnas "
            f"calibrate`) goes on with them; a search takes another name (--set name=...)"
        )
    known = store.study_config(name)
    return known if known is not None and has_trials(store, name, resume) else None


def check_unchanged(
    name: str, now: Mapping[str, Any], known: Mapping[str, Any], besides: Collection[str] = ()
) -> None:
    """Raises ConfigError where a study as it is now differs from what the database has of it in
    what would make old and new trials incomparable. besides: keys that are not looked at."""
    then = parse_study(known, "the database").model_dump(mode="json")
    first, second = _compared(now, besides), _compared(then, besides)
    changed = {key for key in first.keys() - _FREE if first[key] != second[key]}
    for key in ("objectives", "also"):
        # The order of objectives is that of the stored values; a trial between two tasks goes on
        # in theirs.
        if list(now[key]) != list(then[key]):
            changed.add(key)
    if changed:
        raise ConfigError(
            f"study {name!r} cannot be resumed with changed {', '.join(sorted(changed))}: its "
            f"trials would not be comparable; go on with what it began with by its name, "
            f"`hybridnas search {name} --resume`, or start a new one (--set name=...)"
        )


def _compared(config: Mapping[str, Any], besides: Collection[str]) -> dict[str, Any]:
    """Without where things lie, which does not matter: of a latency table what it holds, of data
    what a protocol's digest says."""
    left_out, latency = {"task", *besides}, config["latency"]
    kept = {**config, "latency": latency and latency["sha256"]}
    kept["also"] = {
        task: {key: value for key, value in other.items() if key not in left_out}
        for task, other in config["also"].items()
    }
    return {key: value for key, value in kept.items() if key not in left_out}


def about(task: str, error: HybridnasError) -> HybridnasError:
    """The error, with the name of the study's other task that it is about."""
    return type(error)(f"also.{task}: {error}") if task else error
