"""Makes a latency table: times pieces, estimates the rest, and checks it on whole networks."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from ..architecture import Architecture
from ..cost import cost
from ..errors import ConfigError, HybridnasError
from ..space import SearchSpace
from .estimate import estimate
from .measure import REFERENCE
from .pieces import Piece, blocks, group, pieces_in, pieces_of
from .setting import Setting
from .table import Accuracy, LatencyTable, sum_of
from .timing import Told, silent

FEWEST_BLOCKS = 3  # timed of a group whose others are estimated: one is held out, two give a trend


class Timer(Protocol):
    """What times pieces and networks: a Stopwatch, or a test's own."""

    setting: Setting
    num_classes: int
    reference_ms: float

    def piece(self, piece: Piece) -> float: ...

    def network(self, architecture: Architecture) -> float: ...


def make_table(
    space: SearchSpace,
    timer: Timer,
    *,
    max_blocks: int = 1500,
    networks: int = 30,
    seed: int = 0,
    note: Callable[[str], None] = lambda text: None,
    told: Told = silent,
) -> LatencyTable:
    """The table of a space.

    Every piece but blocks is timed, and of the blocks all or, of a space with more than
    max_blocks, so many drawn evenly from each group; the others' times are estimated from those.
    A third of the random networks fits scale and offset, the others are held out to check it.
    note: told what is timed; told: of each piece and network. Raises HybridnasError for too few
    blocks or networks, or too small a space, before anything is timed.
    """
    if networks < 6:
        raise HybridnasError(f"a table needs 6 networks or more to be checked on, got {networks}")
    rng, setting = random.Random(seed), timer.setting
    pieces = pieces_in(space, setting.input_size)
    _check_enough(blocks(pieces), max_blocks, space.name)
    drawn = _distinct(space, networks, rng)
    chosen = choose(blocks(pieces), max_blocks, rng)
    timed_blocks = set(chosen)
    to_time = [p for p in pieces if p.kind != "block"] + chosen
    rng.shuffle(to_time)  # so that a slow moment hits no group alone
    note(f"timing {len(to_time)} of {len(pieces)} pieces of {space.name}: {setting.words}")
    times: dict[Piece, float] = {}
    for number, piece in enumerate(to_time):
        told("pieces", number, len(to_time))
        times[piece] = timer.piece(piece)
    guessed, error = estimate(times, [p for p in blocks(pieces) if p not in timed_blocks], seed)
    by_key = {piece.key: ms for piece, ms in {**times, **guessed}.items()}
    note(f"timing {networks} random networks whole")
    whole = []
    for number, architecture in enumerate(drawn):
        told("networks", number, networks)
        whole.append(timer.network(architecture))
    measured = np.array(whole)
    size = setting.input_size
    sums = np.array([sum_of(pieces_of(a, size), by_key, space.name) for a in drawn])
    fit = max(2, len(drawn) // 3)
    scale, offset = fit_line(sums[:fit], measured[:fit])
    macs = np.array([cost(a, size, num_classes=timer.num_classes).macs for a in drawn])
    return LatencyTable(
        space=space.name,
        setting=setting,
        num_classes=timer.num_classes,
        reference=REFERENCE,
        reference_ms=timer.reference_ms,
        scale=scale,
        offset_ms=offset,
        fit_networks=fit,
        accuracy=_accuracy(scale * sums[fit:] + offset, measured[fit:], macs[fit:]),
        num_measured=len(times),
        estimate_error=error,
        pieces=by_key,
    )


def choose(found: Sequence[Piece], number: int, rng: random.Random) -> list[Piece]:
    """All blocks, or `number` of them: as many of each group, and all of groups too small."""
    groups = _groups(found)
    chosen: list[Piece] = []
    left = min(number, len(found))
    for place, members in enumerate(sorted(groups, key=len)):
        share = min(len(members), left // (len(groups) - place))
        chosen += rng.sample(members, share)
        left -= share
    return chosen


def _groups(found: Sequence[Piece]) -> list[list[Piece]]:
    by_group: dict[object, list[Piece]] = {}
    for piece in found:
        by_group.setdefault(group(piece), []).append(piece)
    return list(by_group.values())


def _check_enough(found: Sequence[Piece], number: int, space: str) -> None:
    """Whether `choose` takes enough of every group to estimate its others from."""
    fewest = sum(min(len(members), FEWEST_BLOCKS) for members in _groups(found))
    if number < fewest:
        raise ConfigError(
            f"{number} timed blocks (--blocks) are too few to estimate the others of the space "
            f"{space!r} from: it needs {fewest} or more"
        )


def fit_line(sums: np.ndarray, measured: np.ndarray) -> tuple[float, float]:
    """scale and offset_ms with the least squares of relative errors; offset at least 0."""
    scale, offset = np.polyfit(sums, measured, 1, w=1 / measured)
    if scale <= 0 or offset < 0:  # a straight line through the origin
        weights = sums / measured
        scale, offset = weights.sum() / (weights**2).sum(), 0.0
    return float(scale), float(offset)


def _distinct(space: SearchSpace, number: int, rng: random.Random) -> list[Architecture]:
    found: dict[str, Architecture] = {}
    for _ in range(50 * number):
        architecture = space.sample(rng)
        found.setdefault(architecture.digest, architecture)
        if len(found) == number:
            return list(found.values())
    raise HybridnasError(
        f"the space {space.name!r} is too small to check a table on {number} different networks"
    )


def _accuracy(predicted: np.ndarray, measured: np.ndarray, macs: np.ndarray) -> Accuracy:
    from scipy.stats import kendalltau, spearmanr  # at use: its import takes long

    error = np.abs(predicted / measured - 1)
    return Accuracy(
        networks=len(measured),
        spearman=float(spearmanr(predicted, measured).statistic),
        kendall=float(kendalltau(predicted, measured).statistic),
        macs_kendall=float(kendalltau(macs, measured).statistic),
        median_error=float(np.median(error)),
        within_10_percent=float(np.mean(error <= 0.1)),
    )
