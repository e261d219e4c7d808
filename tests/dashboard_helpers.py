"""A study with everything that a dashboard shows, and the page asked without a server.

PYTEST_DONT_REWRITE: nothing is asserted here.
"""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import search_helpers as helpers

from hybridnas.search.core import SearchCore
from hybridnas.search.observer import Candidate
from hybridnas.store import Store

LEAST = 0.84  # top1 that a soft constraint asks for
RUNGS = [{"epochs": 1, "resolution": 32}, {"epochs": 3, "resolution": 32}]
SOFT: dict[str, Any] = {
    "space": helpers.LISTED,
    "fidelities": RUNGS,
    "halving": {"shares": [0.5, 0.5]},
    "constraints": {"top1": {"min": LEAST}, "macs": {"max": 1e7}},
    "budget": {"trials": 30},
}


def finish(core: SearchCore, candidate: Candidate, **changes: Any) -> None:
    """Ends a run an hour of GPU after the one before, with a curve of as many epochs as it had."""
    numbers = [*range(candidate.rung * 2 + 1)]
    curve = [{"epoch": i + 1, "loss": 2.0 / (i + 1), "num_epochs": len(numbers)} for i in numbers]
    ended = helpers.START + timedelta(hours=candidate.number + 100 * candidate.repeat)
    timing = {"total_s": 3600.0, "gpu_s": 3600.0}
    top1 = helpers.score(helpers.network(candidate)) + 0.004 * candidate.repeat
    metrics = {"top1": top1, "top1_se": 0.01, **candidate.recorded}
    given: dict[str, Any] = {"metrics": metrics, "curve": curve, "ended_at": ended}
    helpers.finish(core, candidate, **{**given, "timing": timing, **changes})


def searched(store: Store, **changes: Any) -> SearchCore:
    """All of a study; the third trial fails."""
    core = helpers.start(helpers.plan(**{**SOFT, **changes}), store)
    while (candidate := core.ask()) is not None:
        finish(core, candidate, **(helpers.FAILED if candidate.number == 2 else {}))
    core.close()
    return core


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


def ask(
    app: Any,
    path: str,
    *,
    method: str = "GET",
    query: str = "",
    body: object = None,
    **headers: str,
) -> Answer:
    """What a WSGI application answers. headers: as the environment has them (HTTP_COOKIE)."""
    sent = b"" if body is None else json.dumps(body).encode()
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "here",
        "SERVER_PORT": "80",
        "HTTP_ACCEPT_ENCODING": "",
        "wsgi.input": io.BytesIO(sent),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
        "CONTENT_LENGTH": str(len(sent)),
        "CONTENT_TYPE": "application/json",
        **headers,
    }
    told: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], _: object = None) -> None:
        told[:] = [int(status.split()[0]), dict(headers)]

    chunks = app(environ, start)
    content = b"".join(chunks)
    if close := getattr(chunks, "close", None):
        close()
    status, sent_back = told
    return Answer(status, sent_back, content)
