"""Runs a study on Ray: one engine on a laptop and on a cluster."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Ray reads these when it is imported: no log files a trial, no tables on stdout, signals are ours.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray import tune

from ..errors import ConfigError
from ..store import Store
from .core import SearchCore
from .machine import Share, fit
from .observer import Observer, Silent
from .plan import Plan, register
from .retention import prune_weights
from .searcher import StopWhenAsked, StudySearcher
from .view import StudyView
from .weights import absolute
from .worker import WorkerContext, run_candidate


def run_study(
    plan: Plan,
    store: Store,
    *,
    resume: bool = False,
    ray_address: str | None = None,
    observer: Observer | None = None,
) -> str:
    """Runs or continues a study until its budget ends; returns why it ended.

    That is trials, hours, gpu_hours, exhausted, or interrupted (Ctrl-C: what was running is
    queued for --resume). Raises HybridnasError for bad input, also where it shows up only on a
    worker (broken data).
    """
    study = plan.study
    observer = observer or Silent()
    register(plan, store, resume)
    session = store.begin_session(study.name)
    reason = "error"
    try:
        store.put_study(study.name, plan.config)
        core = SearchCore(plan, store, observer)
        if core.stop_reason is None:
            observer.note("starting Ray")
            with _ray(ray_address):
                share = fit(study.resources, ray.cluster_resources())
                observer.note(share.words)
                reason = _tune(plan, store, core, session, share)
        else:
            reason = core.stop_reason
        store.heartbeat(session, core.proposals, core.redrawn)
        prune_weights(study.name, store, _folder(plan))
        _snapshot_front(study.name, store)
    except KeyboardInterrupt:  # before or after Tune's own run, which ends in good order
        reason = "interrupted"
        raise
    finally:
        store.end_session(session, reason)
    return reason


def _tune(plan: Plan, store: Store, core: SearchCore, session: int, share: Share) -> str:
    searcher = StudySearcher(core, session, _folder(plan))
    context = WorkerContext(
        storage_url=store.url,
        artifacts=_folder(plan),
        protocol_json=plan.protocol.to_json(),
        loader_workers=share.loader_workers,
        threads=share.threads,
        gpus=share.gpus,
    )
    trainable = tune.with_resources(
        tune.with_parameters(run_candidate, context=context),
        {"cpu": share.cpus, "gpu": share.gpus},
    )
    with tempfile.TemporaryDirectory(prefix="hybridnas-tune-") as scratch, _signals(searcher):
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                max_concurrent_trials=share.concurrent,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=plan.study.name,
                storage_path=scratch,
                stop=StopWhenAsked(searcher),
                failure_config=tune.FailureConfig(max_failures=plan.study.resources.retries),
                verbose=0,
            ),
        )
        tuner.fit()
    core.release()
    if searcher.error is not None:
        raise searcher.error
    return "interrupted" if searcher.stopping else core.stop_reason or "exhausted"


def _folder(plan: Plan) -> str:
    return f"{absolute(plan.study.artifacts).rstrip('/')}/{plan.study.name}"


def _snapshot_front(name: str, store: Store) -> None:
    view = StudyView(name, store)
    store.put_front(name, view.front_json(), view.cost_so_far())


@contextmanager
def _ray(address: str | None) -> Iterator[None]:
    """Ray, started here or joined at an address; left alone where it is running already."""
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    # Workers import us, and a user's own mixer, from where the search was started.
    path = os.pathsep.join(dict.fromkeys((os.getcwd(), *filter(None, sys.path))))
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options["address"] = address  # "local" joins nobody else's Ray that runs on this machine
    if address == "local":
        options["include_dashboard"] = False
    else:
        import hybridnas
        import hybridnas_kernels

        # Machines of a cluster may not have this version of us, or none.
        environment = {
            "py_modules": [hybridnas, hybridnas_kernels],
            "env_vars": {"PYTHONPATH": path},
        }
        options["runtime_env"] = environment
    try:
        with warnings.catch_warnings(), _environment("PYTHONPATH", path):
            warnings.simplefilter("ignore", FutureWarning)
            ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        where = "" if address == "local" else f"at {address!r} "
        raise ConfigError(f"Ray {where}cannot be reached or started: {first}") from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """A variable set for a while; the processes that Ray starts meanwhile inherit it."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _signals(searcher: StudySearcher) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) ends the search in good order, a second one at once."""

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        if searcher.stopping:
            raise KeyboardInterrupt
        searcher.stopping = True

    try:
        before = {s: signal.signal(s, ask_to_stop) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: whoever owns that one handles its signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
