"""The processes of a drill: a search, its Ray, and the ways to disturb them (fault_drill.py)."""

from __future__ import annotations

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from drill_study import WORKERS
from postgres_server import Server

KINDS = ("driver", "interrupt", "worker", "head", "postgres", "outage", "full")

_ROOT = Path(__file__).parent.parent
_PATHS = [str(_ROOT / part) for part in (".", "kernels", "scripts", "tests")]
_FINISHING_TRIES = 5  # of drivers that end with an error
_PATIENCE_S = 180  # for anything to happen
_HEAD_GRACE_S = 45  # for a driver to notice that its head is gone


class Drill:
    """A search in processes of its own. faults: what went otherwise than it should."""

    def __init__(self, folder: Path, url: str, trials: int, server: Server | None) -> None:
        self.folder, self.url, self.trials, self.server = folder, url, trials, server
        self.journal = folder / "journal"
        self.journal.touch()
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._head: subprocess.Popen[bytes] | None = None
        self._driver: subprocess.Popen[bytes] | None = None
        self._address = ""
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(_PATHS),
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
        for _ in range(_FINISHING_TRIES):
            self.ensure_running()
            assert self._driver is not None
            if self._driver.wait(timeout=_PATIENCE_S + self.trials) == 0:
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
        self._driver.wait(timeout=_PATIENCE_S)

    def _kill_worker(self, rng: random.Random) -> None:
        _wait("a worker", lambda: bool(self.evaluating()) or self._has_ended())
        for pid in self.evaluating()[:1]:
            os.kill(pid, signal.SIGKILL)

    def _kill_head(self, rng: random.Random) -> None:
        _kill(self._head)
        self._head = None
        assert self._driver is not None
        try:
            self._driver.wait(timeout=_HEAD_GRACE_S)
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

    def _kill_full(self, rng: random.Random) -> None:
        """No room is left where the database lies, but for a few pages, until the driver ends."""
        database = Path(self.url.removeprefix("sqlite:///"))
        assert self._driver is not None
        log, filler = self.folder / "driver.log", database.with_name("filler")
        before = log.stat().st_size
        with closing(sqlite3.connect(database, timeout=60)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # its log is room as well
        with filler.open("wb", buffering=0) as file:
            left = os.statvfs(database.parent)
            pages = left.f_bavail * left.f_frsize // 4096 - rng.randrange(4)
            file.write(bytes(4096 * max(0, pages)))
        code = self._driver.wait(timeout=_PATIENCE_S)
        filler.unlink()
        said = log.read_bytes()[before:].decode()
        if code != 2 or "disk is full" not in said or "Traceback" in said:
            self.faults.append(f"on a full disk a driver ended with {code}: {said[-1000:]}")


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    """With all that it started and that stayed in its session."""
    if process is not None and process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait(what: str, enough: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not enough():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {_PATIENCE_S} s")
        time.sleep(0.05)
