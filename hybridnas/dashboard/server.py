"""Optuna's dashboard on our database, with what we have to show of a study."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterable, Sequence
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna_dashboard import _app, _pareto_front

from ..errors import ConfigError, StoreError
from ..store import Store
from .artifacts import TrialFiles
from .guard import Guard
from .overlay import ON_FRONT, OverlaidStorage

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_STUDY = re.compile(r"/api/studies/(\d+)/?")


class Dashboard(ThreadingMixIn, WSGIServer):
    """Serves until its `server_close`, which waits for a reading of the database to end."""

    daemon_threads = True
    page: Page

    def server_close(self) -> None:
        super().server_close()
        if hasattr(self, "page"):  # else it could not be bound
            self.page.storage.finish()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        logging.getLogger(__name__).debug(format, *args)


class Page:
    """A WSGI application: the page and all that it asks for, with nothing in front of it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.storage = OverlaidStorage(store.optuna_storage(), store)
        # Its own list of best trials ignores constraints, and knows no final retraining.
        _app.get_pareto_front_trials = _best
        files = TrialFiles(store, self.storage.names)
        self._app: WSGIApplication = optuna_dashboard.wsgi(self.storage, files)

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if study := _STUDY.fullmatch(environ.get("PATH_INFO", "")):
            try:
                with self._store.explained():
                    self.storage.look(int(study[1]))
            except StoreError as error:  # the page goes on with what was read before
                logging.getLogger(__name__).warning("dashboard: %s", error)
        return self._app(environ, start)


def make_dashboard(store: Store, host: str, port: int, token: str | None = None) -> Dashboard:
    """A server that is bound but does not serve yet; port 0 takes a free one.

    token: asked of everybody who comes; None: of nobody.
    Raises ConfigError when host or port cannot be had.
    """
    page = Page(store)
    try:
        server = make_server(
            host, port, Guard(page, token), server_class=Dashboard, handler_class=_Quiet
        )
    except (OSError, OverflowError, socket.gaierror) as error:
        raise ConfigError(f"dashboard: cannot listen on {host}:{port} ({error})") from None
    server.page = page
    return server


def _best(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """The members of the front, as of the last reading; where there is none yet, or the study is
    not ours, of those that keep their constraints."""
    front = [trial for trial in trials if ON_FRONT in trial.system_attrs]
    if front:
        return front
    kept = [trial for trial in trials if all(c <= 0 for c in trial.constraints.values())]
    return _pareto_front.get_pareto_front_trials(kept, directions)
