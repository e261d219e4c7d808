"""The one door to the database of studies and evaluations."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, final

from ..errors import StoreError
from . import calibrations, opening, studies
from .engine import Database
from .models import ArchitectureRow, ProtocolRow
from .optuna_storage import close_storage, open_storage
from .past_methods import PastMethods
from .records import (
    CalibrationRecord,
    FrontRecord,
    Merged,
    SessionRecord,
    StoreInfo,
    StudyContents,
)
from .trial_methods import TrialMethods
from .urls import in_full, shown

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


@final
class Store(TrialMethods, PastMethods):
    """An open database; close it, or use it in a `with`.

    Every method is one transaction, tried again a few times when the database was locked or
    the connection dropped, and raises StoreError, in one line without credentials, when it
    could not be done. Threads may share a store, processes may not: each opens `store.url`.
    """

    def __init__(self, database: Database) -> None:
        """For `Store.open`."""
        self._database = database
        self._sessions = {}
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

    def wait_for_server(self, seconds: float) -> None:
        """From now on a method waits so long where the database is away (0 at first), so that a
        restart of its server is no error.
        """
        self._database.wait_s = seconds

    def info(self) -> StoreInfo:
        """Version, size, and rows by table."""
        return opening.info(self._database)

    def explained(self) -> AbstractContextManager[None]:
        """Turns what `optuna_storage` raises where the database refuses it into a StoreError."""
        return self._database.explained()

    def optuna_storage(self) -> RDBStorage:
        """Optuna's storage on this database, always the same one; `close` closes it.

        On SQLite it profits from the write-ahead log that `open` switched on in the file.
        Raises StoreError when its tables are of another version of Optuna.
        """
        if self._optuna_storage is None:
            with self._database.explained():
                self._optuna_storage = open_storage(self._database.url)
        return self._optuna_storage

    def merge(self, other: Store, names: Mapping[str, str] | None = None) -> Merged:
        """Takes the studies and evaluations of another database in, Optuna's trials too.

        All of it or nothing; what is here already is left alone, so a second time changes
        nothing. The other database is only read. names: what a study is to be called here, where
        not as there. Raises StoreError for a name that is another study's here, and for studies
        that are being searched there.
        """
        from . import merging

        if self.url == other.url:
            raise StoreError(f"{shown(self._database.url)} cannot be merged into itself")
        self.optuna_storage()  # makes its tables
        return self._database.write(
            lambda session: other._database.read(
                lambda there: merging.merge(session, there, names or {})
            )
        )

    def rename_studies(self, names: Mapping[str, str]) -> None:
        """Gives studies other names, all or none, in Optuna's tables too; weights stay where they
        are. names: new ones by old ones.

        Raises StoreError for an unknown study, one that is searched now, and a name that is taken.
        """
        from . import housekeeping

        self.optuna_storage()  # makes its tables
        self._database.write(partial(housekeeping.rename_all, names=names))

    def check_new_names(self, names: Mapping[str, str]) -> None:
        """Raises StoreError as `rename_studies` would now; nothing is written."""
        from . import housekeeping

        self._database.read(partial(housekeeping.check_names, names=names))

    def is_searched(self, study: str) -> bool:
        """Whether a search proposed its trials, not a calibration or a twin test."""
        from . import optuna_studies

        return self._database.read(partial(optuna_studies.is_there, name=study))

    def study_contents(self, names: Collection[str]) -> StudyContents:
        """What `delete_studies` would delete. Raises StoreError for an unknown study."""
        from . import housekeeping

        return self._database.read(partial(housekeeping.contents, names=names))

    def delete_studies(
        self, names: Collection[str], *, keep_evaluations: bool = False
    ) -> StudyContents:
        """Deletes studies with their trials, all or none, in Optuna's tables too, and the
        evaluations that no other study has, unless they are to be kept for look-ups. What was
        deleted: files of weights are the caller's to remove.

        Raises StoreError for an unknown study, and one that is being searched.
        """
        from . import housekeeping

        self.optuna_storage()  # makes its tables
        work = partial(housekeeping.remove_all, names=names, keep_evaluations=keep_evaluations)
        return self._database.write(work)

    def put_study(self, name: str, config: Mapping[str, object]) -> None:
        """Records a study, or its new config under the same name. NaN and infinities: error."""
        self._database.write(partial(studies.put_study, name=name, config=config))

    def study_config(self, name: str) -> dict[str, object] | None:
        """A study's config as it was last put; None for an unknown name."""
        return self._database.read(partial(studies.study_config, name=name))

    def study_names(self) -> list[str]:
        """All studies, oldest first."""
        return self._database.read(studies.study_names)

    def has_trials(self, study: str) -> bool:
        """Whether a study has a trial; False for an unknown one."""
        return self._database.read(partial(studies.has_trials, study=study))

    def begin_session(self, study: str) -> int:
        """A new session of the study, by this process, and its id.

        Raises StoreError for an unknown study, and while another session is alive: its process
        runs on this host, or it was seen within two minutes on another. Sessions found dead
        are ended as "lost", at their last sign of life. Where such a one was not dead after all,
        its store can begin and lease no trials of the study any more: StoreError.
        """
        session_id = self._database.write(partial(studies.begin_session, study=study))
        self._sessions[study] = session_id
        return session_id

    def heartbeat(self, session_id: int, proposals: int, redrawn: int) -> None:
        """A session's sign of life, with its counts so far. At least once a minute.

        Raises StoreError where another run took it for dead.
        """
        self._database.write(
            partial(studies.heartbeat, session_id=session_id, proposals=proposals, redrawn=redrawn)
        )

    def end_session(self, session_id: int, reason: str) -> None:
        """Ends a session now; one that was taken for dead stays so."""
        self._sessions = {name: id_ for name, id_ in self._sessions.items() if id_ != session_id}
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

    def architectures(self, study: str) -> dict[str, str]:
        """The JSON of all architectures of a study's trials, by digest."""
        return self._database.read(partial(studies.architectures, study=study))

    def put_protocol(self, digest: str, json: str) -> None:
        """Keeps a protocol's JSON; one that is there stays as it is."""
        self._database.write(partial(studies.put_text, table=ProtocolRow, digest=digest, json=json))

    def protocol_json(self, digest: str) -> str | None:
        """A protocol's JSON; None for an unknown digest."""
        return self._database.read(partial(studies.text, table=ProtocolRow, digest=digest))

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

    def calibrations(self, *, study: str | None = None) -> list[CalibrationRecord]:
        """All, or those of a study; oldest first."""
        return self._database.read(partial(calibrations.find, study=study))
