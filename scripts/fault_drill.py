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
- outage: the same, but it is away for a minute.

The search draws at random and evaluates with scripts/simulated_evaluator.py on a Ray of its own.
At the end its trials are compared with those of a search that nobody disturbs. Prints one JSON
document; exit code 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
from drill_study import NAME, WORKERS, undisturbed
from postgres_server import Server

from hybridnas.store import Store

ROOT = Path(__file__).parent.parent
PATHS = [str(ROOT / part) for part in (".", "kernels", "scripts", "tests")]
KINDS = ("driver", "interrupt", "worker", "head", "postgres", "outage")
FINISHING_TRIES = 5  # of drivers that end with an error
PATIENCE_S = 180  # for anything to happen
HEAD_GRACE_S = 45  # for a driver to notice that its head is gone


class Drill:
    """A search in processes of its own."""

    def __init__(self, folder: Path, url: str, trials: int, server: Server | None) -> None:
        self.folder, self.url, self.trials, self.server = folder, url, trials, server
        self.journal = folder / "journal"
        self.journal.touch()
        self.counts: Counter[str] = Counter()
        self._head: subprocess.Popen[bytes] | None = None
        self._driver: subprocess.Popen[bytes] | None = None
        self._address = ""
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(PATHS),
            "HYBRIDNAS_JOURNAL": str(self.journal),
            "RAY_AUTH_MODE": "disabled",
            "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
            "OMP_NUM_THREADS": "1",
        }

    def begun(self) -> list[list[str]]:
        return [words for words in self._lines() if words[0] == "begin"]

    def evaluating(self) -> list[int]:
        """Processes that are in the middle of an evaluation."""
        open_ = Counter[str]()
        for what, _, pid, _ in self._lines():
            open_[pid] += 1 if what == "begin" else -1
        return [
            int(pid)
            for pid, number in open_.items()
            if number > 0 and Path(f"/proc/{pid}").exists()
        ]

    def _lines(self) -> list[list[str]]:
        return [line.split() for line in self.journal.read_text().splitlines()]

    def ensure_running(self) -> None:
        if self._head is None:
            self._start_head()
        if self._driver is None or self._driver.poll() is not None:
            if self._driver is not None and self._driver.returncode > 0:
                self.counts["drivers that ended with an error"] += 1
            script = str(Path(__file__).with_name("drill_study.py"))
            command = [sys.executable, script, self.url, self._address, str(self.trials)]
            self._driver = self._start(command, "driver.log")
            self.counts["drivers started"] += 1

    def finish(self) -> None:
        """Lets the search come to its end."""
        for _ in range(FINISHING_TRIES):
            self.ensure_running()
            assert self._driver is not None
            if self._driver.wait(timeout=PATIENCE_S + self.trials) == 0:
                return
        said = (self.folder / "driver.log").read_text()[-2000:]
        raise RuntimeError(f"the search does not come to its end: {said}")

    def close(self) -> None:
        for process in (self._driver, self._head):
            _kill(process)

    def _start_head(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._address = f"127.0.0.1:{port}"
        ray = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
        options = [f"--num-cpus={WORKERS}", f"--port={port}", "--node-ip-address=127.0.0.1"]
        options += ["--include-dashboard=false", "--disable-usage-stats"]
        self._head = self._start([*ray, *options], "head.log")
        _wait("Ray's head", lambda: _listens(port))

    def _start(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                env=self._environment,
                cwd=self.folder,
                start_new_session=True,
            )

    def kill(self, kind: str, rng: random.Random) -> bool:
        """Whether it came to it: else the search had ended before."""
        self.ensure_running()
        before = len(self.begun())
        _wait("an evaluation", lambda: len(self.begun()) > before or self._has_ended())
        time.sleep(rng.uniform(0, 2))
        if self._has_ended():
            return False
        getattr(self, f"_kill_{kind}")(rng)
        self.counts[f"kills: {kind}"] += 1
        return True

    def _has_ended(self) -> bool:
        return self._driver is not None and self._driver.poll() == 0

    def _kill_driver(self, rng: random.Random) -> None:
        _kill(self._driver)

    def _kill_interrupt(self, rng: random.Random) -> None:
        assert self._driver is not None
        for _ in range(2):
            self._driver.send_signal(signal.SIGINT)
            time.sleep(rng.uniform(0, 1))
        self._driver.wait(timeout=PATIENCE_S)

    def _kill_worker(self, rng: random.Random) -> None:
        _wait("a worker", lambda: bool(self.evaluating()) or self._has_ended())
        for pid in self.evaluating()[:1]:
            os.kill(pid, signal.SIGKILL)

    def _kill_head(self, rng: random.Random) -> None:
        _kill(self._head)
        self._head = None
        assert self._driver is not None
        try:
            self._driver.wait(timeout=HEAD_GRACE_S)
            self.counts["drivers that ended when their head was gone"] += 1
        except subprocess.TimeoutExpired:
            _kill(self._driver)

    def _kill_postgres(self, rng: random.Random, away_s: float | None = None) -> None:
        assert self.server is not None, "checked before the drill began"
        self.server.stop()
        time.sleep(rng.uniform(0, 3) if away_s is None else away_s)
        self.server.start()

    def _kill_outage(self, rng: random.Random) -> None:
        self._kill_postgres(rng, away_s=60)


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    """With all that it started and that stayed in its session."""
    if process is not None and process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait(what: str, enough: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not enough():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {PATIENCE_S} s")
        time.sleep(0.05)


def findings(drill: Drill) -> dict[str, Any]:
    """What is to be checked, and the figures. An empty list of faults: all is well."""
    with Store.open(drill.url, create=False) as store:
        records = store.trials(NAME)
        study = optuna.load_study(study_name=NAME, storage=store.optuna_storage())
        trials = study.get_trials(deepcopy=False)
        evaluations = store.info().rows["nas_evaluation"]
    faults = []
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


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--kinds", default="driver", help="comma-separated")
    arguments.add_argument("--kills", type=int, default=20)
    arguments.add_argument("--trials", type=int, default=60)
    arguments.add_argument("--postgres", action="store_true", help="instead of SQLite")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    kinds, rng = given.kinds.split(","), random.Random(given.seed)
    if unknown := set(kinds) - set(KINDS):
        arguments.error(f"--kinds: {', '.join(KINDS)}; not {', '.join(sorted(unknown))}")
    if {"postgres", "outage"} & set(kinds) and not given.postgres:
        arguments.error("--kinds: postgres and outage need --postgres")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridnas-drill-")))
        server = stack.enter_context(Server()) if given.postgres else None
        url = f"{server.url}postgres" if server else f"sqlite:///{folder / 'drill.db'}"
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
