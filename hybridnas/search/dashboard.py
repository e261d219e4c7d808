"""Optuna's dashboard on our database."""

from __future__ import annotations

import logging
import socket
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
import optuna_dashboard

from ..errors import ConfigError
from ..store import Store


class _Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        logging.getLogger(__name__).debug(format, *args)


def make_dashboard(store: Store, host: str, port: int) -> WSGIServer:
    """A server that is bound but does not serve yet; port 0 takes a free one.

    Raises ConfigError when host or port cannot be had.
    """
    # Without the cache every poll of the page would read the whole study again.
    storage = optuna.storages._CachedStorage(store.optuna_storage())
    try:
        return make_server(
            host, port, optuna_dashboard.wsgi(storage), server_class=_Threaded, handler_class=_Quiet
        )
    except (OSError, OverflowError, socket.gaierror) as error:
        raise ConfigError(f"dashboard: cannot listen on {host}:{port} ({error})") from None
