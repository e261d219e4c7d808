"""Samplers by name: who proposes the next architecture."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)

from ...config import Sampler
from ...objectives import Direction
from ..feasibility import Feasibility
from .ehvi_sampler import EhviSampler
from .evolution import EvolutionSampler
from .grid import GridSampler
from .imported import imported_sampler

Objectives = Mapping[str, Direction]
Maker = Callable[[Sampler, Feasibility, Objectives, int], BaseSampler]


def make_sampler(
    config: Sampler, hard: Feasibility, objectives: Objectives, seed: int
) -> BaseSampler:
    """The sampler that a study names, of Optuna's kind.

    hard: the space, its constraints and its costs. objectives: direction by name, in the order of
    a trial's values. Raises ConfigError for what the sampler cannot search.
    """
    seed %= 2**32  # numpy knows no larger one, and callers add to a study's
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if config.name in MAKERS:
            return MAKERS[config.name](config, hard, objectives, seed)
        return imported_sampler(config.name, config.options or {}, seed)


def _startup(config: Sampler) -> int:
    assert config.startup_trials is not None, "samplers that take it have a default"
    return config.startup_trials


def _population(config: Sampler) -> int:
    assert config.population_size is not None, "samplers that take it have a default"
    return config.population_size


def _tpe(config: Sampler, seed: int) -> BaseSampler:
    startup = _startup(config)
    return TPESampler(n_startup_trials=startup, multivariate=True, constant_liar=True, seed=seed)


def _evolution(config: Sampler, hard: Feasibility, seed: int) -> BaseSampler:
    assert config.tournament_size is not None
    assert config.survival is not None
    tournament, survival = config.tournament_size, config.survival
    return EvolutionSampler(hard, seed, _population(config), tournament, survival)


MAKERS: Mapping[str, Maker] = {
    "ehvi": lambda config, hard, objectives, seed: EhviSampler(
        hard, objectives, seed, _startup(config)
    ),
    "tpe": lambda config, hard, objectives, seed: _tpe(config, seed),
    "gp": lambda config, hard, objectives, seed: GPSampler(
        n_startup_trials=_startup(config), seed=seed
    ),
    "nsga2": lambda config, hard, objectives, seed: NSGAIISampler(
        population_size=_population(config), seed=seed
    ),
    "nsga3": lambda config, hard, objectives, seed: NSGAIIISampler(
        population_size=_population(config), seed=seed
    ),
    "evolution": lambda config, hard, objectives, seed: _evolution(config, hard, seed),
    "random": lambda config, hard, objectives, seed: RandomSampler(seed=seed),
    "grid": lambda config, hard, objectives, seed: GridSampler(hard, seed),
}
