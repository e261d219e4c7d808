"""A throw-away PostgreSQL server, for tests and drills."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

# Holds every character that a URL, a template or a shell could stumble over.
PASSWORD = "s3{cret}/@:%'"
_PASSWORD_IN_URL = "s3%7Bcret%7D%2F%40%3A%25%27"


def is_installed() -> bool:
    return shutil.which("initdb") is not None and shutil.which("pg_ctl") is not None


class Server:
    """On this machine, in a folder of its own; gone at the end of the `with`."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="hybridnas-postgres-"))
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]

    @property
    def url(self) -> str:
        """Up to the name of the database."""
        return f"postgresql+psycopg://tester:{_PASSWORD_IN_URL}@127.0.0.1:{self._port}/"

    def __enter__(self) -> Self:
        try:
            password = self._folder / "password"
            password.write_text(PASSWORD)
            password.chmod(0o644)
            options = f"-U tester -A scram-sha-256 --pwfile={password} --no-locale -E UTF8"
            self._run(f"initdb -D {self._folder / 'data'} {options} --no-sync".split())
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop(check=False)
        shutil.rmtree(self._folder)

    def start(self) -> None:
        options = (
            f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' "
            "-c fsync=off"
        )
        log = str(self._folder / "log")
        self._run([*self._control(), "-l", log, "-w", "-o", options, "start"])

    def stop(self, check: bool = True) -> None:
        """At once, as a crash would: it recovers when it starts again."""
        self._run([*self._control(), "-m", "immediate", "stop"], check)

    def _control(self) -> list[str]:
        return ["pg_ctl", "-D", str(self._folder / "data")]

    def _run(self, command: list[str], check: bool = True) -> None:
        quiet = subprocess.DEVNULL
        subprocess.run(
            command, cwd=self._folder, user=self._user, stdout=quiet, stderr=quiet, check=check
        )
