"""What runs on a worker: one evaluation under a lease, written to the database, then reported."""

from __future__ import annotations

import pkgutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import uuid4

import ray
import torch
from ray import tune

from ..architecture import Architecture
from ..config import Protocol
from ..errors import ConfigError, DataError
from ..evaluate import Outcome
from ..store import Evaluation, Store
from ..train import EpochRecord
from . import weights
from .cluster import check_reach
from .patience import patiently
from .weight_files import remove

# Who reports waits for Tune's driver, and the GPU with it.
_SECONDS_BETWEEN_REPORTS = 1.0


@dataclass(frozen=True)
class WorkerContext:
    """What all candidates of a search share. It travels through Ray's object store, since it
    holds the database's password, which must not be written to Tune's folders.

    evaluate: the import path (`package.module:function`) of what evaluates, as
        hybridnas.evaluate.evaluate does. host: where the driver runs. artifacts: where weights
        go; None: nowhere.
    """

    evaluate: str
    host: str
    storage_url: str
    artifacts: str | None
    loader_workers: int
    threads: int
    gpus: float


def run_candidate(config: dict[str, Any], context: WorkerContext) -> None:
    """Tune's trainable. config: number, token, architecture and protocol (JSON), costs,
    keep_weights.

    Reports epochs, of quick ones some. DataError and ConfigError end the search: they are reported
    as `fatal`.
    """
    torch.set_num_threads(context.threads)
    number = config["number"]
    protocol = Protocol.from_json(config["protocol"])
    architecture = Architecture.from_json(config["architecture"])

    def report(record: EpochRecord) -> None:
        told = {"epoch": record.epoch, "num_epochs": record.num_epochs, "loss": record.loss}
        tune.report({"number": number, **told, "where": _where()})

    try:
        check_reach(context.storage_url, context.host, [socket.gethostname()])
        if not patiently(lambda: _take_up(context.storage_url, config["token"])):
            # An earlier attempt died between its last write and its report, or the driver did.
            tune.report({"number": number, "recorded": True})
            return
        evaluate: Callable[..., Outcome] = pkgutil.resolve_name(context.evaluate)
        outcome = evaluate(
            architecture,
            protocol,
            device="cuda" if context.gpus else "cpu",
            loader_workers=context.loader_workers,
            on_epoch=seldom(report, _SECONDS_BETWEEN_REPORTS),
        )
        kept = _save_weights(outcome, context.artifacts if config["keep_weights"] else None)
        evaluation = as_evaluation(
            outcome, architecture.digest, protocol.digest, config["costs"], context.gpus, kept
        )
        patiently(lambda: _record(context.storage_url, config["token"], evaluation))
    except (DataError, ConfigError) as error:
        tune.report({"number": number, "fatal": f"{error}", "kind": type(error).__name__})
        return
    except Exception as error:
        tune.report({"number": number, "lost": f"{type(error).__name__}: {error}"})
        raise
    tune.report({"number": number, "recorded": True})


@cache
def _where() -> str:
    """The node of this process, and the GPUs that Ray gave it: `node7, GPU 3`."""
    gpus = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    return ", GPU ".join([socket.gethostname(), "+".join(gpus)]) if gpus else socket.gethostname()


def seldom(
    tell: Callable[[EpochRecord], None],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Callable[[EpochRecord], None]:
    """Tells of an epoch only where nothing was told for so long."""
    told = clock()

    def on_epoch(record: EpochRecord) -> None:
        nonlocal told
        if clock() - told >= seconds:
            tell(record)
            told = clock()

    return on_epoch


def _save_weights(outcome: Outcome, artifacts: str | None) -> dict[str, str] | None:
    if outcome.state_dict is None or artifacts is None:
        return None
    # A name of its own: a second attempt must not touch what the first one recorded.
    return weights.save(outcome.state_dict, artifacts, uuid4().hex)


def _take_up(storage_url: str, token: str) -> bool:
    with Store.open(storage_url, create=False) as store:
        return store.take_up(token, _where())


def _record(storage_url: str, token: str, evaluation: Evaluation) -> None:
    """Writes the evaluation if the token still may; else its weights go again."""
    with Store.open(storage_url, create=False) as store:
        written = store.record(token, evaluation)
        standing = None if written is None else store.evaluation(written)
    if evaluation.weights and (standing is None or standing.weights != evaluation.weights):
        remove(evaluation.weights)


def as_evaluation(
    outcome: Outcome,
    architecture_digest: str,
    protocol_digest: str,
    costs: dict[str, float],
    gpus: float,
    kept: dict[str, str] | None,
) -> Evaluation:
    """An outcome as the store keeps it, with the closed-form costs among its metrics.

    gpus: the share of a GPU that the evaluation had; its GPU-seconds go into the timing.
    """
    return Evaluation(
        architecture_digest=architecture_digest,
        protocol_digest=protocol_digest,
        status=outcome.status,
        seed=outcome.seed,
        started_at=outcome.started_at,
        ended_at=outcome.ended_at,
        metrics={**outcome.metrics, **costs},
        reason=outcome.reason,
        message=outcome.message,
        curve=tuple(outcome.curve),
        timing={**outcome.timing, "gpu_s": outcome.timing["total_s"] * gpus},
        machine=outcome.machine,
        versions={name: text for name, text in outcome.versions.items() if text is not None},
        git_commit=outcome.git_commit,
        weights=kept,
    )
