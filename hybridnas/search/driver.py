"""Runs a study on Ray: one engine on a laptop and on a cluster."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from .ray_session import environment, ray_session  # isort: skip # before Ray

from ray import tune

from ..config import Resources
from ..errors import ConfigError, DataError, StoreError
from ..store import Store
from .calibration import Calibration, Setting
from .cluster import LOCAL, address_of, check_reach
from .core import SearchCore
from .heartbeat import Heartbeat
from .ladder import problem_of
from .machine import Share, share_of, share_words
from .nodes import Room, alive_hosts, alive_nodes, check_nodes, gone_nodes
from .observer import Observer, Silent
from .plan import Plan
from .retention import prune_weights
from .retries import Retries
from .searcher import StopWhenAsked, StudySearcher, Work
from .trainings import Job, Trainings
from .view import StudyView
from .weight_files import absolute
from .worker import WorkerContext, run_candidate

EVALUATE = "hybridnas.evaluate:evaluate"

# A database server may be restarted while a search runs.
_WAIT_S = 300
# The searcher says how many candidates there are; Tune, by itself, would start one at a time.
_MOST_STARTING = 10_000


def run_study(
    plan: Plan,
    store: Store,
    *,
    ray_address: str | None = None,
    observer: Observer | None = None,
    evaluate: str = EVALUATE,
) -> str:
    """Runs or continues a study that `check_registered` has nothing against until its budget ends;
    returns why it ended.

    That is trials, hours, gpu_hours, exhausted, or interrupted (Ctrl-C: what was running is
    queued for --resume). Raises HybridnasError for bad input that shows up only on a worker
    (broken data), and where another run of it is alive. Where that comes before any result, the
    database keeps no trial, and the same call begins anew once it is mended.

    evaluate: import path of what evaluates candidates on the workers (`package.module:function`),
    called as hybridnas.evaluate.evaluate is; another one than that is for simulations.
    """
    observer, folder = observer or Silent(), _folder(plan)
    with _session(plan, store) as (heart, ended):
        core = SearchCore(problem_of(plan), store, observer)
        try:
            ended.reason = _work(core, plan, heart, folder, ray_address, evaluate)
        except (ConfigError, DataError):
            # Of mended data the digest is another one, with which begun trials cannot go on.
            store.remove_begun(plan.study.name)
            raise
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
    with _session(plan, store) as (heart, ended):
        calibration = Calibration(plan, setting)
        work = Trainings(study, store, calibration.jobs, observer)
        asked = setting.as_json(study.measured)
        digests = calibration.proxies[0].digest, calibration.judges[0].digest
        begun = store.calibrations(study=study.name)
        last = begun[-1] if begun else None
        known = last and (last.result, last.settings, last.proxy_digest, last.judge_digest)
        if last and known == (None, asked, *digests):
            number = last.id
        else:
            number = store.begin_calibration(study.name, *digests, asked)
        ended.reason = _work(work, plan, heart, None, ray_address)
        if ended.reason == "interrupted":
            return None
        result = calibration.result(store)
        store.end_calibration(number, result)
    return result


def run_trainings(
    plan: Plan,
    store: Store,
    jobs: Sequence[Job],
    *,
    ray_address: str | None = None,
    observer: Observer | None = None,
) -> str:
    """Trains what of the jobs is not known, as trials of the plan's study; `done`, or
    `interrupted`, to go on with. No weights are kept. Raises as `run_study` does.
    """
    with _session(plan, store) as (heart, ended):
        work = Trainings(plan.study, store, jobs, observer)
        ended.reason = _work(work, plan, heart, None, ray_address)
    return ended.reason


@dataclass
class _Ended:
    reason: str = "error"


@contextmanager
def _session(plan: Plan, store: Store) -> Iterator[tuple[Heartbeat, _Ended]]:
    """A session of the study, ended with the reason that is set meanwhile."""
    name, ended = plan.study.name, _Ended()
    if store.study_config(name) is None:
        store.put_study(name, plan.config)
    session = store.begin_session(name)
    store.wait_for_server(_WAIT_S)
    try:
        store.put_study(name, plan.config)
        with Heartbeat(store, session) as heart:
            yield heart, ended
    except KeyboardInterrupt:  # before or after Tune's own run, which ends in good order
        ended.reason = "interrupted"
        raise
    finally:
        store.end_session(session, ended.reason)


def _work(
    work: Work,
    plan: Plan,
    heart: Heartbeat,
    folder: str | None,
    address: str | None,
    evaluate: str = EVALUATE,
) -> str:
    """Has all the work done by Ray's workers; why it ended."""
    heart.counts = lambda: (work.proposals, work.redrawn)
    reason = work.stop_reason
    if reason is None:
        work.observer.note("starting Ray")
        with ray_session(address, _own_modules(plan)):
            check_reach(work.store.url, socket.gethostname(), alive_hosts())
            share = share_of(plan.study, alive_nodes())
            if address_of(address) != LOCAL:
                work.observer.note("looking at the nodes")
                check_nodes(
                    [one.protocol for one in plan.tasks.values()], folder, work.store.url, share
                )
            words = share_words(plan.study, share)
            work.observer.note(
                f"{words}; trainings begin when their processes have started, in 10 s or more"
            )
            reason = _tune(work, plan.study.resources, heart, share, folder, evaluate)
    return reason


def _tune(
    work: Work,
    resources: Resources,
    heart: Heartbeat,
    share: Share,
    folder: str | None,
    evaluate: str,
) -> str:
    retries, room = Retries(resources.retries, gone_nodes), Room(share, resources.concurrent)
    searcher = StudySearcher(work, folder, retries, room)
    heart.on_error = searcher.fail
    context = WorkerContext(
        evaluate=evaluate,
        host=socket.gethostname(),
        storage_url=work.store.url,
        artifacts=folder,
        loader_workers=share.loader_workers,
        threads=share.threads,
        gpus=share.gpus,
    )
    trainable = tune.with_resources(
        tune.with_parameters(run_candidate, context=context),
        {"cpu": share.cpus, "gpu": share.gpus, **share.custom},
    )
    # At the end it lists all attempts that failed, also those of candidates that were tried again.
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
    with (
        tempfile.TemporaryDirectory(prefix="hybridnas-tune-") as scratch,
        environment("TUNE_MAX_PENDING_TRIALS_PG", str(_MOST_STARTING)),
        _signals(searcher),
    ):
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=work.name,
                storage_path=scratch,
                stop=StopWhenAsked(searcher),
                failure_config=tune.FailureConfig(max_failures=0),  # the searcher tries again
                verbose=0,
            ),
        )
        tuner.fit()
    if isinstance(searcher.error, StoreError):
        raise searcher.error  # a later run finds all as it is now
    work.release()
    if searcher.error is not None:
        raise searcher.error
    return "interrupted" if searcher.stopping else work.stop_reason or "exhausted"


def _own_modules(plan: Plan) -> set[str]:
    """The modules of mixers that are neither ours nor installed."""
    installed = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    own = {kind.mixer.__module__ for kind in plan.space.spec.kinds.values()}
    return {
        name
        for name in own
        if name.partition(".")[0] != "hybridnas"
        and not any(str(sys.modules[name].__file__).startswith(folder) for folder in installed)
    }


def _folder(plan: Plan) -> str:
    return f"{absolute(plan.study.artifacts).rstrip('/')}/{plan.study.name}"


def _snapshot_front(name: str, store: Store) -> None:
    view = StudyView(name, store)
    store.put_front(name, view.front_json(), view.cost_so_far())


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
