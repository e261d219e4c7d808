"""A table of pieces' times, from which a network's latency is summed in closed form."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError

from ..architecture import Architecture
from ..errors import ConfigError
from ..strict_yaml import explain
from .pieces import Piece, pieces_of
from .setting import Setting


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Accuracy(_Strict):
    """How near the table comes to random networks that were measured whole and not used for it.

    median_error: of |predicted / measured - 1|; within_10_percent: the share of networks.
    macs_kendall: Kendall's tau of MACs alone with the measured times, for comparison.
    """

    networks: PositiveInt
    spearman: float
    kendall: float
    macs_kendall: float
    median_error: float
    within_10_percent: float

    @property
    def words(self) -> str:
        return (
            f"Spearman {self.spearman:z.3f}, Kendall {self.kendall:z.3f} (MACs alone "
            f"{self.macs_kendall:z.3f}), median error {100 * self.median_error:.1f} %, "
            f"{100 * self.within_10_percent:.0f} % within 10 %; {self.networks} held-out networks"
        )


class LatencyTable(_Strict):
    """Milliseconds of a space's pieces in one setting.

    A network takes `scale * (sum of its pieces) + offset_ms`, both fitted to fit_networks whole
    networks. pieces: by Piece.key. num_measured: how many of them were timed; the others were
    estimated from timed blocks of their group, and estimate_error is the median relative error of
    such estimates on timed blocks left out. num_classes: of the heads. reference_ms: of the
    reference network in the same setting.
    """

    version: PositiveInt = 1
    space: str
    setting: Setting
    num_classes: PositiveInt
    reference: str
    reference_ms: PositiveFloat
    scale: PositiveFloat
    offset_ms: float
    fit_networks: PositiveInt
    accuracy: Accuracy
    num_measured: PositiveInt
    estimate_error: float | None
    pieces: dict[str, PositiveFloat]

    def latency_ms(self, architecture: Architecture) -> float:
        """Of one batch; ConfigError for a network with a piece that the table does not have."""
        total = sum_of(pieces_of(architecture, self.setting.input_size), self.pieces, self.space)
        return self.scale * total + self.offset_ms

    def save(self, path: Path) -> None:
        try:
            path.write_text(self.model_dump_json(indent=1), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def load_table(path: Path) -> tuple[LatencyTable, str]:
    """A table out of a file, and the file's sha256; ConfigError where it is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"latency: {path} cannot be read ({error.strerror}); make a table with "
            f"`hybridnas latency SPACE --out FILE`"
        ) from None
    try:
        table = LatencyTable.model_validate_json(content)
    except ValidationError as error:
        raise ConfigError(f"latency: {path} is no table: {explain(error, LatencyTable)}") from None
    return table, hashlib.sha256(content).hexdigest()


def sum_of(pieces: Iterable[tuple[Piece, int]], times: dict[str, float], space: str) -> float:
    """The sum of pieces' times, each as often as it runs."""
    total = 0.0
    for piece, often in pieces:
        ms = times.get(piece.key)
        if ms is None:
            raise ConfigError(
                f"the latency table of the space {space!r} has no {piece.kind} {piece.key}: make "
                f"one for the space that is searched"
            )
        total += ms * often
    return total
