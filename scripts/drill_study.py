"""The search that scripts/fault_drill.py disturbs, and its driver's process.

python scripts/drill_study.py URL RAY_ADDRESS TRIALS
"""

from __future__ import annotations

import logging
import sys
import tempfile

import ray

from hybridnas.config import parse_study
from hybridnas.errors import HybridnasError
from hybridnas.search.core import SearchCore
from hybridnas.search.driver import run_study
from hybridnas.search.ladder import problem_of
from hybridnas.search.plan import Plan, make_plan
from hybridnas.store import Store

NAME = "drill"
WORKERS = 2


def plan(trials: int) -> Plan:
    return make_plan(
        parse_study(
            {
                "name": NAME,
                "space": "hybrid_small",
                "fidelities": [{"epochs": 1, "resolution": 32}],
                "sampler": "random",
                "seed": 5,
                "budget": {"trials": trials},
                "resources": {"concurrent": WORKERS, "cpus": 1, "retries": 100},
            },
            NAME,
        )
    )


def undisturbed(trials: int) -> list[str]:
    """The digests that the search proposes when nothing happens to it, in turn."""
    with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/x.db") as store:
        given = plan(trials)
        store.put_study(NAME, given.config)
        core = SearchCore(problem_of(given), store)
        found = []
        while (candidate := core.ask()) is not None:
            found.append(candidate.digest)
        return found


def main() -> None:
    url, address, trials = sys.argv[1:]
    # Its workers have the head's environment: nothing is to be sent to them.
    ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with Store.open(url) as store:
            given = plan(int(trials))
            run_study(given, store, evaluate="simulated_evaluator:evaluate")
    except HybridnasError as error:  # as the command line ends
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
