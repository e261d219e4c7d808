"""What a comparison of samplers found: kept in a file while it runs, and summed up."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConfigError, DataError
from ...whole_files import write_whole
from .statistics import (
    Floats,
    Interval,
    mean_curve,
    paired_difference,
    trainings_to_equal,
)


@dataclass(frozen=True)
class Result:
    """One replay. curve: hypervolume in % of the true front's, after each training; of a table with
    one objective the regret (quality.BestJudge).

    trained: fewer than the curve is long where nothing was left to be trained. redrawn: proposals
    that broke a constraint and were repaired; infeasible: trained ones that did; proposal_s: CPU
    seconds of all proposals.
    """

    arm: str
    seed: int
    curve: list[float]
    trained: int
    redrawn: int
    infeasible: int
    proposal_s: float


@dataclass
class Results:
    """All replays of a comparison. table: its name and size; trainings: of one replay."""

    table: Mapping[str, Any]
    trainings: int
    replays: list[Result] = field(default_factory=list)

    @property
    def measure(self) -> str:
        """What curves are of: `hypervolume`, or `regret`, which is the better the smaller."""
        return "regret" if "regret_of" in self.table else "hypervolume"

    @property
    def within(self) -> tuple[float, float]:
        """Between which ends a curve lies: no regret is below 0, no front above all of it."""
        return (0, math.inf) if self.measure == "regret" else (0, 100)

    def means(self, arm: str) -> list[Interval]:
        """Over seeds, after each training."""
        return mean_curve(self.curves(arm), self.within)

    def has(self, arm: str, seed: int) -> bool:
        return any((known.arm, known.seed) == (arm, seed) for known in self.replays)

    def of(self, arm: str) -> list[Result]:
        """By seed, as far as there is none missing between."""
        by_seed = {known.seed: known for known in self.replays if known.arm == arm}
        found: list[Result] = []
        while len(found) in by_seed:
            found.append(by_seed[len(found)])
        return found

    def curves(self, arm: str) -> Floats:
        """(seeds, trainings)"""
        return np.array([result.curve for result in self.of(arm)])

    def put_in_order(self, arms: Sequence[str]) -> None:
        """As these samplers are named, the others after them; many processes end in any order."""
        place = {name: number for number, name in enumerate(arms)}
        self.replays.sort(key=lambda r: (place.get(r.arm, len(place)), r.arm, r.seed))

    @property
    def arms(self) -> list[str]:
        """Those that have a replay, in the order of the replays."""
        return [name for name in dict.fromkeys(r.arm for r in self.replays) if self.of(name)]

    def write(self, path: Path, summary: Sequence[Mapping[str, Any]]) -> None:
        """As JSON. Raises ConfigError where the file cannot be written."""
        replays = [asdict(result) for result in self.replays]
        whole = {"table": self.table, "trainings": self.trainings}
        whole = json_value({**whole, "summary": list(summary), "replays": replays})
        text = json.dumps(whole)
        try:
            write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"--out: {path} cannot be written ({error.strerror})") from None

    @classmethod
    def read(cls, path: Path) -> Results:
        """Raises DataError for a file that is no comparison's."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            replays = [Result(**one) for one in raw["replays"]]
            return cls(raw["table"], raw["trainings"], replays)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: no results of `hybridnas bench search` ({error})") from None


def summarise(
    results: Results, trainings: Sequence[int], against: str, at: int
) -> list[dict[str, Any]]:
    """A row a sampler: hypervolume, or regret, after each number of trainings, as the mean over
    seeds with its 95 % interval; the paired difference from `against`; how many trainings it needs
    to equal `against` after `at` of them (infinite: more than there were).
    """
    target = results.curves(against)
    sign = -1 if results.measure == "regret" else 1
    rows = []
    for name in results.arms:
        replays, curves = results.of(name), results.curves(name)
        means = results.means(name)
        row: dict[str, Any] = {"sampler": name, "seeds": len(replays)}
        row[results.measure] = {n: asdict(means[n - 1]) for n in trainings}
        if name != against and len(target):
            row["difference"] = {
                n: asdict(paired_difference(curves[:, n - 1], target[:, n - 1])) for n in trainings
            }
            row["to_equal"] = asdict(trainings_to_equal(sign * curves, sign * target[:, at - 1]))
        done = sum(result.trained for result in replays)
        row["redrawn_per_training"] = sum(r.redrawn for r in replays) / done
        row["infeasible_per_training"] = sum(r.infeasible for r in replays) / done
        row["proposal_ms"] = 1000 * sum(r.proposal_s for r in replays) / done
        rows.append(row)
    return rows


def json_value(value: Any) -> Any:
    """With text as keys, and null for what is infinite: JSON knows no such number."""
    if isinstance(value, Mapping):
        return {str(key): json_value(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [json_value(inner) for inner in value]
    return None if isinstance(value, float) and math.isinf(value) else value
