"""Who takes part in a comparison of samplers, and how it is written in a word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from ...config import Sampler
from ...errors import ConfigError
from ...strict_yaml import explain

PLAIN = "plain-"
# Optuna's samplers at Optuna's defaults.
PLAIN_SAMPLERS = {
    "random": "RandomSampler",
    "tpe": "TPESampler",
    "nsga2": "NSGAIISampler",
    "nsga3": "NSGAIIISampler",
    "gp": "GPSampler",
}


@dataclass(frozen=True, slots=True)
class Arm:
    """One sampler in a comparison.

    name: as it was written. sampler: as a study has it; None: a `plain` one of PLAIN_SAMPLERS, as
    Optuna has it, which trains what breaks a constraint, and what it has proposed before.
    num_seeds: None: as many as the comparison has.
    """

    name: str
    sampler: Sampler | None
    plain: str = ""
    num_seeds: int | None = None


def read_arm(text: str) -> Arm:
    """NAME, NAME+option=value+..., plain-NAME; with @SEEDS behind it: so many seeds only.

    Raises ConfigError.
    """
    name, at, seeds = text.strip().partition("@")
    if at and not (seeds.isdecimal() and int(seeds)):
        raise ConfigError(f"sampler {text!r}: behind @ stands how many seeds, got {seeds!r}")
    number = int(seeds) if at else None
    if name.startswith(PLAIN):
        plain = name.removeprefix(PLAIN)
        if plain not in PLAIN_SAMPLERS:
            allowed = ", ".join(PLAIN + known for known in PLAIN_SAMPLERS)
            raise ConfigError(f"no sampler {name!r} of Optuna's; allowed: {allowed}")
        return Arm(name, None, plain, number)
    kind, *settings = name.split("+")
    options: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"sampler {text!r}: + adds option=value, got {setting!r}")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"sampler {text!r}: {value!r} is no value in YAML") from None
    try:
        return Arm(name, Sampler.model_validate({"name": kind, **options}), num_seeds=number)
    except ValidationError as error:
        raise ConfigError(f"sampler {text!r}: {explain(error, Sampler)}") from None
