"""What the database knows of twins: scores by seed, effects, and the verdict on each mixer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..architecture import Architecture
from ..config import TWINS, Protocol, parse_study
from ..cost import Cost, cost, input_size
from ..counting import Size
from ..objectives import loss_sign
from ..search.studies import protocol_of
from ..store import Evaluation, Store, TrialRecord
from .effects import Effect, effect
from .twins import StageMixer, backbone_macs, places_in, replaced


@dataclass(frozen=True)
class Trained:
    """An architecture with its scores by seed. failed: trainings that ended badly. cost: with the
    task's head, at the protocol's resolution."""

    architecture: Architecture
    cost: Cost
    scores: Mapping[int, float]
    failed: int


@dataclass(frozen=True)
class Comparison:
    """The original against one twin.

    places: the mixers that the twin lacks. macs_difference: of its MACs, the head aside, as a share
    of the original's. effect: how much better the original scores, in the score's unit; None where
    no seed of both ended well.
    """

    places: tuple[StageMixer, ...]
    twin: Trained
    macs_difference: float
    effect: Effect | None


@dataclass(frozen=True)
class Ablation:
    """All twins of an architecture that were trained under one protocol, as one family: effects of
    two ablations are not corrected for each other.

    study: what the trainings belong to. label: what the architecture is called in it, a trial's
    number say. protocol: with seed 0. metric: the score that is compared.
    """

    study: str
    label: str
    protocol: Protocol
    metric: str
    original: Trained
    comparisons: tuple[Comparison, ...]


def read_ablations(store: Store, study: str) -> list[Ablation]:
    """Of a study's trials, and of other architectures under its protocol; the oldest first."""
    names = [name for name in store.study_names() if name.rpartition(TWINS)[0] == study]
    return [found for name in names for found in ablations_in(store, name)]


def ablations_in(store: Store, name: str) -> list[Ablation]:
    """Of one architecture, by the name of its ablations' study: one a protocol, the oldest first.

    Trial 0 is the original's; of two twins that lack the same mixers the later one counts.
    """
    config, trials = store.study_config(name), store.trials(name)
    if config is None or not trials or trials[0].number:
        return []
    metric = parse_study(config, f"study {name!r}").measured
    original = _architecture(store, trials[0].architecture_digest)
    found = []
    for protocol, ended in _by_protocol(store, trials):
        known = {
            digest: _trained(_architecture(store, digest), evaluations, protocol, metric)
            for digest, evaluations in ended.items()
        }
        base = known.pop(original.digest, None)
        if base is not None and known:
            comparisons = _compared(base, list(known.values()), protocol, metric)
            label = name.rpartition(TWINS)[2]
            found.append(Ablation(name, label, protocol, metric, base, comparisons))
    return found


def _by_protocol(
    store: Store, trials: Sequence[TrialRecord]
) -> list[tuple[Protocol, dict[str, list[Evaluation]]]]:
    """What ended, by the protocol without its seed, and by the architecture's digest."""
    protocols: dict[str, Protocol] = {}
    found: dict[str, tuple[Protocol, dict[str, list[Evaluation]]]] = {}
    for trial in trials:
        for evaluation in (run.evaluation for run in trial.runs):
            if evaluation is None:
                continue
            digest = evaluation.protocol_digest
            if digest not in protocols:
                protocols[digest] = protocol_of(store, digest).seedless()
            protocol = protocols[digest]
            _, ended = found.setdefault(protocol.digest, (protocol, {}))
            ended.setdefault(trial.architecture_digest, []).append(evaluation)
    return list(found.values())


def _architecture(store: Store, digest: str) -> Architecture:
    text = store.architecture_json(digest)
    assert text is not None, "a trial's architecture is put before the trial"
    return Architecture.from_json(text)


def _trained(
    architecture: Architecture,
    evaluations: Sequence[Evaluation],
    protocol: Protocol,
    metric: str,
) -> Trained:
    task = protocol.task
    size, classes = _size(protocol), len(protocol.class_names)
    known = cost(architecture, size, task.name, classes, head_width=task.head_width)
    figures = {evaluation.seed: evaluation.figure(metric) for evaluation in evaluations}
    scores = {seed: figure for seed, figure in sorted(figures.items()) if figure is not None}
    return Trained(architecture, known, scores, len(figures) - len(scores))


def _compared(
    original: Trained, twins: Sequence[Trained], protocol: Protocol, metric: str
) -> tuple[Comparison, ...]:
    """In the order of the network; a twin without several mixers comes last."""
    lacking = {replaced(original.architecture, twin.architecture): twin for twin in twins}
    in_order = places_in(original.architecture)
    ordered = sorted(
        lacking.items(), key=lambda item: (len(item[0]), [in_order.index(p) for p in item[0]])
    )
    macs = backbone_macs(original.architecture, _size(protocol))
    better = -loss_sign(metric)
    return tuple(
        Comparison(
            places,
            twin,
            backbone_macs(twin.architecture, _size(protocol)) / macs - 1,
            effect(
                [
                    better * (score - twin.scores[seed])
                    for seed, score in original.scores.items()
                    if seed in twin.scores
                ],
                len(ordered),
            ),
        )
        for places, twin in ordered
    )


def _size(protocol: Protocol) -> Size:
    return input_size(protocol.task.name, protocol.fidelity.resolution)
