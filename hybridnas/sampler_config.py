"""Who proposes candidates: a study's sampler and its options, as a frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from .errors import meant
from .recipe import SearchSeed, Value

DEFAULT_SAMPLER = "ehvi"
# The options that each sampler takes, at their defaults.
SAMPLER_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "ehvi": {"startup_trials": 10},
    "tpe": {"startup_trials": 10},
    "gp": {"startup_trials": 10},
    "nsga2": {"population_size": 20},
    "nsga3": {"population_size": 20},
    "evolution": {"population_size": 20, "tournament_size": 5, "survival": "rank"},
    "random": {},
    "grid": {},
}


class Sampler(Value):
    """Who proposes: a sampler's name, and options of that one alone.

    name: of SAMPLER_OPTIONS, or any other of Optuna's kind: `package.module:Class`, or
        `optunahub:NAME` out of Optuna's hub.
    seed: of the proposals; None: the study's, which is also that of the trainings.
    startup_trials: random ones before the model (ehvi, tpe, gp).
    population_size: of nsga2, nsga3 and evolution; the first ones are random.
    tournament_size, survival: of evolution: out of how many the parent is the best, and who leaves
        the population: the oldest (`age`) or the worst (`rank`).
    options: what a sampler by import path is built with.
    """

    name: str = DEFAULT_SAMPLER
    seed: SearchSeed | None = None
    startup_trials: PositiveInt | None = None
    population_size: int | None = Field(default=None, ge=2)
    tournament_size: PositiveInt | None = None
    survival: Literal["age", "rank"] | None = None
    options: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _options_of_the_sampler(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("name", ""), str):
            return raw
        name = raw.get("name", DEFAULT_SAMPLER)
        if ":" in name:
            defaults: Mapping[str, Any] = {"options": {}}
        elif name in SAMPLER_OPTIONS:
            defaults = SAMPLER_OPTIONS[name]
        else:
            raise ValueError(
                f"no sampler {name!r}{meant(name, SAMPLER_OPTIONS)}; allowed: "
                f"{', '.join(SAMPLER_OPTIONS)}, or any of Optuna's kind by import path, "
                f"package.module:Class or optunahub:NAME"
            )
        given = {key: value for key, value in raw.items() if value is not None}
        wrong = sorted(given.keys() - defaults.keys() - {"name", "seed"}, key=str)
        if wrong:
            # As in a study that began with another one: its options stand there at their defaults.
            others = any(wrong[0] in options for options in SAMPLER_OPTIONS.values())
            instead = f" (`--set sampler={name}` leaves another sampler's out)" if others else ""
            raise ValueError(
                f"{name} has no option {', '.join(map(repr, wrong))}"
                f"{meant(str(wrong[0]), defaults)}; allowed: "
                f"{', '.join([*defaults, 'seed'])}{instead}"
            )
        return {**defaults, **given}

    @property
    def num_random(self) -> int | None:
        """How many random candidates it begins with; None: it does not say."""
        return self.startup_trials or self.population_size
