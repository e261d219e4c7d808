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
from dataclasses import dataclass
from types import FrameType
from typing import Any

# Ray reads these when it is imported: no log files a trial, no tables on stdout, signals are ours.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray import tune

from ..config import Resources
from ..environment import first_line
from ..errors import ConfigError
from ..store import Store
from .calibration import CalibrationWork, Setting
from .core import SearchCore
from .ladder import problem_of
from .machine import Share, fit
from .observer import Observer, Silent
from .plan import Plan, register
from .retention import prune_weights
from .searcher import StopWhenAsked, StudySearcher, Work
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
    observer, folder = observer or Silent(), _folder(plan)
    register(plan, store, resume)
    with _session(plan, store) as (session, ended):
        core = SearchCore(problem_of(plan), store, observer)
        ended.reason = _work(core, plan.study.resources, session, folder, ray_address)
        if ended.reason != "interrupted":
            core.close()
        prune_weights(plan.study.name, store, folder)
        _snapshot_front(plan.study.name, store)
    return ended.reason


def run_calibration(
    plan: Plan,
    store: Store,
    setting: Setting,
    *,
    ray_address: str | None = None,
    observer: Observer | None = None,
) -> dict[str, Any] | None:
    """Trains what a calibration needs and is not known, and records its result; None when it was
    interrupted, to go on with.

    plan: of the calibration's study (`calibration_study`). Raises as `run_study` does.
    """
    study = plan.study
    with _session(plan, store) as (session, ended):
        work = CalibrationWork(plan, store, setting, observer)
        asked = setting.as_json(study.measured)
        wanted = (None, asked, work.proxies[0].digest, work.judges[0].digest)
        begun = store.calibrations(study=study.name)
        last = begun[-1] if begun else None
        if last and (last.result, last.settings, last.proxy_digest, last.judge_digest) == wanted:
            calibration = last.id
        else:
            calibration = store.begin_calibration(study.name, *wanted[2:], asked)
        ended.reason = _work(work, study.resources, session, None, ray_address)
        if ended.reason == "interrupted":
            return None
        result = work.result()
        store.end_calibration(calibration, result)
    return result


@dataclass
class _Ended:
    reason: str = "error"


@contextmanager
def _session(plan: Plan, store: Store) -> Iterator[tuple[int, _Ended]]:
    """A session of the study, ended with the reason that is set meanwhile."""
    name, ended = plan.study.name, _Ended()
    if store.study_config(name) is None:
        store.put_study(name, plan.config)
    session = store.begin_session(name)
    try:
        store.put_study(name, plan.config)
        yield session, ended
    except KeyboardInterrupt:  # before or after Tune's own run, which ends in good order
        ended.reason = "interrupted"
        raise
    finally:
        store.end_session(session, ended.reason)


def _work(
    work: Work, resources: Resources, session: int, folder: str | None, ray_address: str | None
) -> str:
    """Has all the work done by Ray's workers; why it ended."""
    reason = work.stop_reason
    if reason is None:
        work.observer.note("starting Ray")
        with _ray(ray_address):
            share = fit(resources, ray.cluster_resources())
            work.observer.note(share.words)
            reason = _tune(work, resources.retries, session, share, folder)
    work.store.heartbeat(session, work.proposals, work.redrawn)
    return reason


def _tune(work: Work, retries: int, session: int, share: Share, folder: str | None) -> str:
    searcher = StudySearcher(work, session, folder)
    context = WorkerContext(
        storage_url=work.store.url,
        artifacts=folder,
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
                name=work.name,
                storage_path=scratch,
                stop=StopWhenAsked(searcher),
                failure_config=tune.FailureConfig(max_failures=retries),
                verbose=0,
            ),
        )
        tuner.fit()
    work.release()
    if searcher.error is not None:
        raise searcher.error
    return "interrupted" if searcher.stopping else work.stop_reason or "exhausted"


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
        first = first_line(error) or type(error).__name__
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
