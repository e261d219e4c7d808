"""Trains all architectures of a small space with several seeds at each rung: a table of results.

    python scripts/tabulate_space.py scripts/digits_table.yaml --out hybridnas/tables/digits.csv

A row an architecture, as it is done: its genes, macs and params, then the study's first measured
objective as rung1_seed0, rung1_seed1, ... A file that is there already is gone on with.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch

from hybridnas.errors import HybridnasError
from hybridnas.evaluate import evaluate
from hybridnas.search.plan import Plan, feasibility, make_plan, rung_protocol
from hybridnas.search.studies import read_study
from hybridnas.space import Genome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="its space, task, recipe and fidelities count")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    plan = make_plan(read_study(given.study))
    known = list(csv.DictReader(given.out.open())) if given.out.is_file() else []
    with given.out.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, genome in enumerate(plan.space.all_genomes()):
            if number < len(known):
                continue
            row = {
                **genome,
                **feasibility(plan).cost_of(genome),
                **trained(plan, genome, given.seeds),
            }
            if number == 0:
                writer.writerow(row)
            writer.writerow(row.values())
            file.flush()
            print(number + 1, *row.values(), flush=True)


def trained(plan: Plan, genome: Genome, num_seeds: int) -> dict[str, float]:
    """Scores by rung and seed. Raises HybridnasError for a training that fails."""
    scores = {}
    for rung, fidelity in enumerate(plan.study.fidelities, 1):
        for seed in range(num_seeds):
            protocol = rung_protocol(plan, fidelity, seed)
            outcome = evaluate(plan.space.decode(genome), protocol, device="cpu")
            if outcome.status == "failed":
                raise HybridnasError(f"{genome}: {outcome.message}")
            scores[f"rung{rung}_seed{seed}"] = round(outcome.metrics[plan.study.measured], 6)
    return scores


if __name__ == "__main__":
    main()
