"""A learning rate for each family of mixers: what a study's `recipe.lr_scale` should say.

Trains the networks of the study's space that have one mixer in all stages at each rate, and prints
their scores, means over seeds; the best rates as factors of the recipe's lr come last. Done before
a search, on networks that are no winners of it: one rate for all misjudges attention beside SSM.

    python scripts/tune_rates.py layouts81 --set task.data=DIR --rates 1e-3 2e-3 4e-3
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean

import torch

from hybridnas.architecture import Architecture
from hybridnas.errors import ConfigError, HybridnasError
from hybridnas.evaluate import evaluate
from hybridnas.objectives import loss_sign
from hybridnas.search.plan import Plan, make_plan, rung_protocol
from hybridnas.search.studies import read_study
from hybridnas.space import SearchSpace


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="a file or a shipped study")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 2e-3, 4e-3])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores here too")
    given = parser.parse_args()
    plan = make_plan(read_study(given.study, given.settings))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    best, told = {}, {}
    for mixer, architecture in pure(plan.space).items():
        scores = {
            rate: [score(plan, architecture, rate, seed, device) for seed in range(given.seeds)]
            for rate in given.rates
        }
        sign = loss_sign(plan.study.measured)
        best[mixer] = min(scores, key=lambda rate: sign * fmean(scores[rate]))
        told[mixer] = {str(rate): values for rate, values in scores.items()}
        means = ", ".join(f"{rate:g}: {fmean(values):.4f}" for rate, values in scores.items())
        print(f"{mixer} ({architecture.short}), {plan.study.measured} by rate: {means}", flush=True)
    scale = {mixer: round(rate / plan.study.recipe.lr, 4) for mixer, rate in best.items()}
    print(f"recipe.lr_scale, with lr {plan.study.recipe.lr:g}: {scale}")
    if given.json:
        given.json.write_text(json.dumps({"scores": told, "lr_scale": scale}, indent=2))


def pure(space: SearchSpace) -> dict[str, Architecture]:
    """By mixer the network with it in all stages, other decisions at their first choice."""
    stages = [f"stage{i}.mixer" for i in range(1, len(space.spec.stages) + 1)]
    common = set.intersection(*(set(stage.mixer) for stage in space.spec.stages))
    if not common:
        raise ConfigError(f"{space.name} has no mixer that every stage may have")
    return {
        name: space.decode(dict.fromkeys(stages, name))
        for name in space.spec.kinds
        if name in common
    }


def score(plan: Plan, architecture: Architecture, rate: float, seed: int, device: str) -> float:
    """Raises HybridnasError for a training that fails."""
    protocol = rung_protocol(plan, plan.study.fidelity, seed)
    recipe = protocol.recipe.model_copy(update={"lr": rate, "lr_scale": {}})
    outcome = evaluate(architecture, protocol.model_copy(update={"recipe": recipe}), device=device)
    if outcome.status == "failed":
        raise HybridnasError(f"{architecture.short} at {rate:g}: {outcome.message}")
    return outcome.metrics[plan.study.measured]


if __name__ == "__main__":
    main()
