"""The one door to the database of studies and evaluations."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, final

from . import calibrations, opening, studies, trials
from .engine import Database
from .models import ArchitectureRow, ProtocolRow
from .optuna_storage import close_storage, open_storage
from .records import (
    CalibrationRecord,
    Evaluation,
    FrontRecord,
    SessionRecord,
    StoreInfo,
    TrialRecord,
)
from .urls import in_full, shown

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


@final
class Store:
    """An open database; close it, or use it in a `with`.

    Every method is one transaction, tried again a few times when the database was locked or
    the connection dropped, and raises StoreError, in one line without credentials, when it
    could not be done. Threads may share a store, processes may not: each opens `store.url`.
    """

    def __init__(self, database: Database) -> None:
        """For `Store.open`."""
        self._database = database
        self._optuna_storage: RDBStorage | None = None

    @staticmethod
    def open(url: str, *, create: bool = True) -> Store:
        """Opens sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST:PORT/NAME.

        Makes our tables where there are none, in a new file too; with create=False that is an
        error and nothing is written. Raises StoreError also for tables of another version
        (saying what to do), and for a database that is locked, broken or out of reach.
        """
        return Store(opening.open_database(url, create=create))

    @staticmethod
    def upgrade(url: str) -> tuple[str | None, str]:
        """Brings our tables to this program's version; gives the versions before and after."""
        return opening.upgrade_database(url)

    def close(self) -> None:
        """Closes the connections, those of `optuna_storage` too. A second call does nothing."""
        if self._optuna_storage is not None:
            close_storage(self._optuna_storage)
            self._optuna_storage = None
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({shown(self._database.url)!r})"

    @property
    def url(self) -> str:
        """What opens this database from any folder, PASSWORD INCLUDED: `redact` it to show it."""
        return in_full(self._database.url)

    def info(self) -> StoreInfo:
        """Version, size, and rows by table."""
        return opening.info(self._database)

    def optuna_storage(self) -> RDBStorage:
        """Optuna's storage on this database, always the same one; `close` closes it.

        On SQLite it profits from the write-ahead log that `open` switched on in the file.
        Raises StoreError when its tables are of another version of Optuna.
        """
        if self._optuna_storage is None:
            with self._database.explained():
                self._optuna_storage = open_storage(self._database.url)
        return self._optuna_storage

    def put_study(self, name: str, config: Mapping[str, object]) -> None:
        """Records a study, or its new config under the same name. NaN and infinities: error."""
        self._database.write(partial(studies.put_study, name=name, config=config))

    def study_config(self, name: str) -> dict[str, object] | None:
        """A study's config as it was last put; None for an unknown name."""
        return self._database.read(partial(studies.study_config, name=name))

    def study_names(self) -> list[str]:
        """All studies, oldest first."""
        return self._database.read(studies.study_names)

    def begin_session(self, study: str) -> int:
        """A new session of the study, by this process, and its id.

        Raises StoreError for an unknown study, and while another session is alive: its process
        runs on this host, or it was seen within two minutes on another. Sessions found dead
        are ended as "lost", at their last sign of life.
        """
        return self._database.write(partial(studies.begin_session, study=study))

    def heartbeat(self, session_id: int, proposals: int, redrawn: int) -> None:
        """A session's sign of life, with its counts so far. At least once a minute."""
        self._database.write(
            partial(studies.heartbeat, session_id=session_id, proposals=proposals, redrawn=redrawn)
        )

    def end_session(self, session_id: int, reason: str) -> None:
        """Ends a session now."""
        self._database.write(partial(studies.end_session, session_id=session_id, reason=reason))

    def sessions(self, study: str) -> list[SessionRecord]:
        """A study's sessions, oldest first."""
        return self._database.read(partial(studies.sessions, study=study))

    def put_architecture(self, digest: str, json: str) -> None:
        """Keeps an architecture's JSON; one that is there stays as it is."""
        self._database.write(
            partial(studies.put_text, table=ArchitectureRow, digest=digest, json=json)
        )

    def architecture_json(self, digest: str) -> str | None:
        """An architecture's JSON; None for an unknown digest."""
        return self._database.read(partial(studies.text, table=ArchitectureRow, digest=digest))

    def put_protocol(self, digest: str, json: str) -> None:
        """Keeps a protocol's JSON; one that is there stays as it is."""
        self._database.write(partial(studies.put_text, table=ProtocolRow, digest=digest, json=json))

    def protocol_json(self, digest: str) -> str | None:
        """A protocol's JSON; None for an unknown digest."""
        return self._database.read(partial(studies.text, table=ProtocolRow, digest=digest))

    def lease(
        self,
        study: str,
        number: int,
        architecture_digest: str,
        protocol_digest: str,
        costs: Mapping[str, float] | None = None,
        rung: int = 0,
        repeat: int = 0,
    ) -> str:
        """The token under which the trial's next evaluation may be recorded.

        From now on every earlier token of the trial is void, and the trial has no evaluation.
        Attempts count from 1 again when the architecture or protocol is another (a next rung).
        Study, architecture and protocol must have been put before. costs: the study's own.
        rung, repeat: which of the trial's runs this is (RunRecord).
        """
        return self._database.write(
            partial(
                trials.lease,
                study=study,
                number=number,
                architecture_digest=architecture_digest,
                protocol_digest=protocol_digest,
                costs=costs,
                rung=rung,
                repeat=repeat,
            )
        )

    def record(self, token: str, evaluation: Evaluation) -> int | None:
        """Writes the evaluation and links its trial to it; gives its id.

        Only the holder of the trial's current token may: otherwise nothing is written and the
        answer is None (an orphan of a dead driver). A token that has written already gets the
        id of what it wrote, and nothing more is written. Raises StoreError for an evaluation of
        another architecture or protocol than was leased.
        """
        return self._database.write(partial(trials.record, token=token, evaluation=evaluation))

    def reuse(
        self,
        study: str,
        number: int,
        architecture_digest: str,
        protocol_digest: str,
        evaluation_id: int,
        costs: Mapping[str, float] | None = None,
        rung: int = 0,
        repeat: int = 0,
    ) -> None:
        """Gives a run of a trial an earlier evaluation of the same architecture and protocol.

        Earlier tokens of the trial are void. Raises StoreError if the evaluation is another's.
        """
        self._database.write(
            partial(
                trials.reuse,
                study=study,
                number=number,
                architecture_digest=architecture_digest,
                protocol_digest=protocol_digest,
                evaluation_id=evaluation_id,
                costs=costs,
                rung=rung,
                repeat=repeat,
            )
        )

    def mark(self, study: str, numbers: Collection[int], reason: str | None) -> None:
        """Sets the reason of trials, a word of the search ("waiting"); lease and reuse clear it."""
        self._database.write(partial(trials.mark, study=study, numbers=numbers, reason=reason))

    def finished(self, architecture_digest: str, protocol_digest: str) -> Evaluation | None:
        """The latest evaluation of both that is ok, of any study; None without one."""
        return self._database.read(
            partial(
                trials.finished,
                architecture_digest=architecture_digest,
                protocol_digest=protocol_digest,
            )
        )

    def evaluation(self, evaluation_id: int) -> Evaluation | None:
        """An evaluation; None for an unknown id."""
        return self._database.read(partial(trials.evaluation, evaluation_id=evaluation_id))

    def trial(self, study: str, number: int) -> TrialRecord | None:
        """A trial with its evaluation; None for an unknown one."""
        return self._database.read(partial(trials.trial, study=study, number=number))

    def trials(self, study: str) -> list[TrialRecord]:
        """A study's trials with their evaluations, by number."""
        return self._database.read(partial(trials.trials, study=study))

    def studies_of(self, evaluation_id: int) -> set[str]:
        """The studies of which a trial has this evaluation, made for it or reused."""
        return self._database.read(partial(trials.studies_of, evaluation_id=evaluation_id))

    def set_weights(self, evaluation_id: int, weights: Mapping[str, str] | None) -> None:
        """Says where an evaluation's weights are (path, sha256), or None: no longer kept."""
        self._database.write(
            partial(trials.set_weights, evaluation_id=evaluation_id, weights=weights)
        )

    def put_front(
        self, study: str, members: Sequence[Mapping[str, object]], cost: Mapping[str, object]
    ) -> int:
        """Records a study's front as it is now; gives its id. NaN and infinities: error."""
        return self._database.write(
            partial(studies.put_front, study=study, members=members, cost=cost)
        )

    def fronts(self, study: str) -> list[FrontRecord]:
        """A study's fronts, oldest first."""
        return self._database.read(partial(studies.fronts, study=study))

    def begin_calibration(
        self, study: str, proxy_digest: str, judge_digest: str, settings: Mapping[str, object]
    ) -> int:
        """A calibration without a result yet; gives its id. Both protocols must have been put."""
        return self._database.write(
            partial(
                calibrations.begin,
                study=study,
                proxy_digest=proxy_digest,
                judge_digest=judge_digest,
                settings=settings,
            )
        )

    def end_calibration(self, calibration_id: int, result: Mapping[str, object]) -> None:
        """Gives a calibration its result. NaN and infinities: error."""
        self._database.write(
            partial(calibrations.end, calibration_id=calibration_id, result=result)
        )

    def calibrations(
        self, *, study: str | None = None, protocol_digest: str | None = None
    ) -> list[CalibrationRecord]:
        """Those of a study, or with a protocol as proxy or as judge; oldest first."""
        return self._database.read(
            partial(calibrations.find, study=study, protocol_digest=protocol_digest)
        )
