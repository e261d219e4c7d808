"""Who may ask the page for what: to look is free with the token, to change anything is refused."""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Optuna's half of a study alone cannot be told, renamed or deleted; a note is nobody's but hers
# who wrote it.
_NOTE = re.compile(r"/api/studies/\d+(/\d+)?/note/?")
_READ_ONLY = "this page only shows: a study is changed by `hybridnas search` and `hybridnas db`"
_NO_LOOPBACK = (
    "without a token this page answers at localhost and 127.0.0.1 only: "
    "start `hybridnas dashboard` with --token"
)
_NO_TOKEN = "open the address that `hybridnas dashboard` printed, with its token"


class Guard:
    """A WSGI application in front of another."""

    def __init__(self, app: WSGIApplication, token: str | None = None) -> None:
        """token: asked of everybody, as `?token=...` once (a cookie remembers it) or as a bearer's;
        None: of nobody who asks for a name of this machine alone: a page of another site, whose
        name was made to lead here, asks for that name."""
        self._app, self._token = app, token

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if self._token is not None:
            query = parse_qsl(environ.get("QUERY_STRING", ""))
            if any(name == "token" and self._is_right(value) for name, value in query):
                rest = [(name, value) for name, value in query if name != "token"]
                return self._remember(environ, rest, start)
            if not any(map(self._is_right, self._carried(environ))):
                return _refuse(start, "401 Unauthorized", _NO_TOKEN)
        elif not is_loopback(_host(environ)):
            return _refuse(start, "403 Forbidden", _NO_LOOPBACK)
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if method not in ("GET", "HEAD") and not (method == "PUT" and _NOTE.fullmatch(path)):
            return _refuse(start, "403 Forbidden", _READ_ONLY)
        return self._app(environ, start)

    def _is_right(self, given: str) -> bool:
        # An empty one is nobody's: it would be brought by whoever has none.
        return bool(given) and hmac.compare_digest(given.encode(), (self._token or "").encode())

    def _carried(self, environ: WSGIEnvironment) -> list[str]:
        """Tokens that a request brings in its headers."""
        found = []
        kind, _, bearer = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if kind.lower() == "bearer":
            found.append(bearer.strip())
        try:
            cookie = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(_cookie_name(environ))
        except CookieError:
            cookie = None
        return found if cookie is None else [*found, unquote(cookie.value)]

    def _remember(
        self, environ: WSGIEnvironment, query: list[tuple[str, str]], start: StartResponse
    ) -> Iterable[bytes]:
        """The same page, its address without the token, which now is in a cookie."""
        path = quote(environ.get("PATH_INFO", "")) or "/"
        path += f"?{urlencode(query)}" if query else ""
        value = quote(self._token or "", safe="")
        cookie = f"{_cookie_name(environ)}={value}; HttpOnly; SameSite=Strict; Path=/"
        start("303 See Other", [("Location", path), ("Set-Cookie", cookie)])
        return []


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    name = host.lower().removesuffix(".")  # with a dot: a name that is whole, to the resolver
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _host(environ: WSGIEnvironment) -> str:
    """What a browser takes this server's name for, without the port; browsers always say it."""
    try:
        return urlsplit(f"//{environ.get('HTTP_HOST', 'localhost')}").hostname or ""
    except ValueError:  # no name at all
        return ""


def _cookie_name(environ: WSGIEnvironment) -> str:
    """A browser sends the cookies of one port to all ports of a host."""
    return f"hybridnas_{environ.get('SERVER_PORT', '')}"


def _refuse(start: StartResponse, status: str, reason: str) -> Iterable[bytes]:
    body = json.dumps({"reason": reason}).encode()
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
