"""Kills parts of a running search at random moments, goes on, and checks that nothing was lost.

    PYTHONPATH=.:kernels:tests python scripts/fault_drill.py --kinds driver --kills 20
    PYTHONPATH=.:kernels:tests python scripts/fault_drill.py --kinds postgres --kills 20 --postgres

Kinds, taken in turn:

- driver: SIGKILL of the search's process; the next one resumes;
- interrupt: Ctrl-C twice, the second one within a second;
- worker: SIGKILL of a process of Ray's that evaluates;
- head: SIGKILL of Ray's head with all its processes; a driver that does not end by itself within
  a while is killed too; then both start again;
- postgres: the server crashes, and is started again after up to three seconds;
- outage: the same, but it is away for a minute;
- full: the disk of the SQLite file is full until the driver has ended, as it should, with exit code
  2 and a word about that. Needs a small file system, which it fills:

    mount -t tmpfs -o size=32m none /mnt/small
    ... scripts/fault_drill.py --kinds full --kills 20 --folder /mnt/small

The search draws at random and evaluates with scripts/simulated_evaluator.py on a Ray of its own.
At the end its trials are compared with those of a search that nobody disturbs. Prints one JSON
document; exit code 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
from drill import KINDS, Drill
from drill_study import NAME, undisturbed
from postgres_server import Server

from hybridnas.store import Store

LARGEST_TO_FILL = 2**28  # bytes


def findings(drill: Drill) -> dict[str, Any]:
    """What is to be checked, and the figures. An empty list of faults: all is well."""
    with Store.open(drill.url, create=False) as store:
        records = store.trials(NAME)
        study = optuna.load_study(study_name=NAME, storage=store.optuna_storage())
        trials = study.get_trials(deepcopy=False)
        evaluations = store.info().rows["nas_evaluation"]
    faults = list(drill.faults)
    states = Counter(trial.state.name for trial in trials)
    if states != {"COMPLETE": drill.trials}:
        faults.append(f"states of trials: {dict(states)}")
    if [t.user_attrs["arch digest"] for t in trials] != undisturbed(drill.trials):
        faults.append("other architectures than in an undisturbed search")
    if evaluations != drill.trials:
        faults.append(f"{evaluations} evaluations of {drill.trials} trials")
    written = {
        r.architecture_digest: r.evaluation.ended_at.timestamp() for r in records if r.evaluation
    }
    again = sum(float(at) > written[digest] + 1 for _, digest, _, at in drill.begun())
    if again:
        faults.append(f"{again} trainings of what had been written before")
    return {
        **drill.counts,
        "trials": len(trials),
        "evaluations": evaluations,
        "trainings begun": len(drill.begun()),
        "trained again after it was written": again,
        "faults": faults,
    }


def size_of_disk(folder: Path) -> int:
    """In bytes, of the file system that a folder is on."""
    found = os.statvfs(folder)
    return found.f_blocks * found.f_frsize


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--kinds", default="driver", help="comma-separated")
    arguments.add_argument("--kills", type=int, default=20)
    arguments.add_argument("--trials", type=int, default=60)
    arguments.add_argument("--postgres", action="store_true", help="instead of SQLite")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--folder", type=Path, help="for the SQLite file; full fills its disk")
    given = arguments.parse_args()
    kinds, rng = given.kinds.split(","), random.Random(given.seed)
    if unknown := set(kinds) - set(KINDS):
        arguments.error(f"--kinds: {', '.join(KINDS)}; not {', '.join(sorted(unknown))}")
    if {"postgres", "outage"} & set(kinds) and not given.postgres:
        arguments.error("--kinds: postgres and outage need --postgres")
    if "full" in kinds and (given.folder is None or size_of_disk(given.folder) > LARGEST_TO_FILL):
        arguments.error("--kinds: full needs --folder, on a file system of 256 MiB at most")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridnas-drill-")))
        server = stack.enter_context(Server()) if given.postgres else None
        file = (given.folder or folder).absolute() / "drill.db"
        url = f"{server.url}postgres" if server else f"sqlite:///{file}"
        drill = Drill(folder, url, given.trials, server)
        stack.callback(drill.close)
        began = time.monotonic()
        for number in range(given.kills):
            if not drill.kill(kinds[number % len(kinds)], rng):
                break
        drill.finish()
        found = {**findings(drill), "seconds": round(time.monotonic() - began)}
    print(json.dumps(found, indent=2))
    sys.exit(bool(found["faults"]))


if __name__ == "__main__":
    main()
