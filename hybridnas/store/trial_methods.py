"""The store's methods about trials: leases, evaluations, and Optuna's half."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy.orm import Session

from . import assignments, trials
from .engine import Database, Result
from .records import FIRST, Assignment, BegunTrial, Evaluation, Place, TrialRecord
from .studies import check_session

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, TrialState


class TrialMethods:
    """Part of `Store`, which says what holds for every method."""

    _database: Database
    _sessions: dict[str, int]  # by study: what this store's process runs

    def _write_as_owner(self, study: str, work: Callable[[Session], Result]) -> Result:
        """A write of a run of the search, which must not have lost the study to another run."""

        def checked(session: Session) -> Result:
            if study in self._sessions:
                check_session(session, self._sessions[study])
            return work(session)

        return self._database.write(checked)

    def lease(
        self,
        study: str,
        number: int,
        architecture_digest: str,
        protocol_digest: str,
        costs: Mapping[str, float] | None = None,
        place: Place = FIRST,
    ) -> str:
        """The token under which the trial's next evaluation may be recorded.

        From now on every earlier token of the trial is void, and the trial has no evaluation.
        Attempts count from 1 again when the architecture or protocol is another (a next rung).
        Study, architecture and protocol must have been put before. costs: the study's own.
        place: which of the trial's runs this is.
        """
        return self._write_as_owner(
            study,
            partial(
                trials.lease,
                study=study,
                number=number,
                architecture_digest=architecture_digest,
                protocol_digest=protocol_digest,
                costs=costs,
                place=place,
                token=uuid4().hex,
            ),
        )

    def is_open(self, token: str) -> bool:
        """Whether an evaluation under the token would be written: it is a trial's current one,
        and nothing was written under it."""
        return self._database.read(partial(trials.is_open, token=token))

    def take_up(self, token: str, worker: str) -> bool:
        """As `is_open`; and if so says who evaluates now (`node7, GPU 3`)."""
        return self._database.write(partial(trials.take_up, token=token, worker=worker))

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
        place: Place = FIRST,
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
                place=place,
                token=uuid4().hex,
            )
        )

    def mark(self, study: str, numbers: Collection[int], reason: str | None) -> None:
        """Sets the reason of trials, a word of the search ("waiting"); lease and reuse clear it."""
        self._write_as_owner(
            study, partial(trials.mark, study=study, numbers=numbers, reason=reason)
        )

    def begin_trial(self, study: str, template: FrozenTrial, wanted: Assignment) -> BegunTrial:
        """A new trial, as the template has it, in Optuna's tables and in ours with its first lease.

        Optuna's study of that name, our study and the protocol must have been put before.
        """
        from . import optuna_trials

        return self._write_as_owner(
            study,
            partial(
                optuna_trials.begin,
                study=study,
                template=template,
                wanted=wanted,
                token=uuid4().hex,
            ),
        )

    def remove_begun(self, study: str) -> None:
        """Takes a study's trials away, in Optuna's tables too, and the hours of its searches, where
        no trial has a result: then it is as good as new. Where one has, all stay.
        """
        from . import housekeeping

        self._write_as_owner(study, partial(housekeeping.remove_begun, study=study))

    def resume_trial(self, trial_id: int) -> None:
        """A trial that was put back is RUNNING with Optuna again.

        trial_id: Optuna's. Raises StoreError for a trial that has ended.
        """
        from . import optuna_trials

        self._database.write(partial(optuna_trials.resume, trial_id=trial_id))

    def lease_or_reuse(self, study: str, number: int, wanted: Assignment) -> str | Evaluation:
        """The token of a new lease; or the evaluation of that architecture under that protocol
        that was known already, and is the trial's now.

        Study, trial and protocol must have been put before; the architecture need not.
        """
        return self._write_as_owner(
            study,
            partial(
                assignments.lease_or_reuse,
                study=study,
                number=number,
                wanted=wanted,
                token=uuid4().hex,
            ),
        )

    def put_back_trial(self, study: str, number: int, trial_id: int) -> None:
        """A trial that nobody evaluates is WAITING with Optuna, and marked so.

        Raises StoreError for a trial that has ended.
        """
        from . import optuna_trials

        self._write_as_owner(
            study, partial(optuna_trials.put_back, study=study, number=number, trial_id=trial_id)
        )

    def note_trial(self, trial_id: int, attributes: Mapping[str, Any]) -> None:
        """Shows something of a trial on Optuna's dashboard (JSON). trial_id: Optuna's."""
        from . import optuna_trials

        self._database.write(partial(optuna_trials.note, trial_id=trial_id, attributes=attributes))

    def end_trial(
        self,
        trial_id: int,
        state: TrialState,
        values: Sequence[float] | None,
        attributes: Mapping[str, Any],
        system_attributes: Mapping[str, Any] | None = None,
    ) -> bool:
        """Tells Optuna how a trial ended: COMPLETE with its values, PRUNED or FAIL.

        attributes: what it is to carry besides (JSON); system_attributes: what Optuna reads. False,
        and nothing is written, where it has ended before.
        """
        from . import optuna_trials

        return self._database.write(
            partial(
                optuna_trials.finish,
                trial_id=trial_id,
                state=state,
                values=values,
                attributes=attributes,
                system_attributes=system_attributes or {},
            )
        )

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
