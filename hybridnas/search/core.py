"""The search core: owns the study in the database; asks, decides, tells, reconciles.

It knows neither Ray nor training nor vision: whoever drives it asks for a candidate, has it
evaluated under the candidate's lease, and settles it. A trial is one proposal; it is evaluated at
the rungs of a ladder, one after the other as far as it gets, and perhaps again at the end; at each
on all tasks of the study, one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from ..objectives import is_cost, named
from ..store import Evaluation, Place, RunRecord, Store
from .agenda import Agenda, Job
from .attributes import result_attributes
from .fresh import FreshProposals
from .leases import evaluation_of
from .ledger import Ledger
from .observer import Candidate, Finished, Observer, Silent
from .problem import Evaluations, Problem
from .proposer import Proposer
from .samplers import make_sampler
from .spending import Spending
from .standing import Standing, Trial, rung_words, untold


class SearchCore:
    """One study's life: `ask` until `stop_reason`, `settle` each candidate, `close` it."""

    def __init__(self, problem: Problem, store: Store, observer: Observer | None = None) -> None:
        """Opens or creates the study in the store, and tells it results that it missed."""
        self.problem, self.name, self.space = problem, problem.name, problem.feasibility.space
        self.store = store
        self.observer: Observer = observer or Silent()
        self.running: dict[int, Candidate] = {}
        self._ledger = Ledger(problem, store)
        self._standing = Standing(problem)
        seed, hard, objectives = problem.seed, problem.feasibility, problem.objectives
        sampler, ways = make_sampler(problem.sampler, hard, objectives, seed), objectives.values()
        self._proposer = Proposer(self.space.genes, list(ways), sampler, hard.num_slacks)
        self._seeds = {self.space.decode(genome).digest for genome in problem.references}
        self._fresh = FreshProposals(hard, self._proposer, seed, problem.references)
        before_s = sum(s.duration_s for s in store.sessions(self.name) if s.ended_at)
        self._spending = Spending(problem.budget, before_s, problem.top, problem.tasks)
        self._agenda = Agenda(problem, self._standing, self._spending, self.running)
        self._take_up([(trial.number, self._remember(trial)) for trial in self._ledger.trials])
        self._spending.recall(self._ledger.records.values())

    @property
    def proposals(self) -> int:
        """How often the sampler was asked, in this run."""
        return self._fresh.num_drawn

    @property
    def redrawn(self) -> int:
        """How many of its proposals broke a hard constraint."""
        return self._fresh.num_infeasible

    @property
    def stop_reason(self) -> str | None:
        """Why nothing more will be asked for: trials, hours, gpu_hours, exhausted; or None.

        None also while what runs decides whether there will be more.
        """
        return self._agenda.stop_reason

    def ask(self) -> Candidate | None:
        """The next candidate to evaluate, or None: there is none (see `stop_reason`), or none
        until something that runs has ended.

        First what an earlier run left unfinished and who goes on with another task, then who may
        go on to a higher rung, then references, then the sampler's proposals; at the end of the
        search the retrainings. What is known already is told at once and not returned.
        """
        agenda = self._agenda
        while self.stop_reason is None:
            if agenda.left:
                candidate = self._adopt(*agenda.left.popleft())
            elif (job := agenda.next() or self._new()) is not None:
                candidate = self._begin(*job)
            elif self.running:
                return None
            else:
                continue  # just now it was found that nothing is left to propose
            if candidate is not None:
                self.running[candidate.number] = candidate
                agenda.began()
                self.observer.started(candidate)
                return candidate
        return None

    def settle(self, number: int) -> str | None:
        """Tells the study what the store holds of a candidate; nothing there: its node is lost.

        Returns the reason of a failure.
        """
        candidate = self.running[number]
        evaluation = evaluation_of(self.store, self.name, candidate)
        self._tell(number, candidate.place, evaluation, reused=False)
        return evaluation.reason

    def release(self) -> None:
        """What is running is for a later run (after an interruption)."""
        for number, candidate in list(self.running.items()):
            run = self._run(number, candidate.place)
            assert run is not None, "a candidate was leased before it was given out"
            if run.evaluation is not None:
                self._tell(number, run.place, run.evaluation, run.reused)
            else:
                self.lost(number)
        self._put_back_waiting()

    def lost(self, number: int) -> None:
        """A candidate ended without a result: it is put back into the queue."""
        place = self.running.pop(number).place
        self._put_back(number, place)
        if not place.repeat:  # what is left to retrain is known without a queue
            self._agenda.left.append((number, place))

    def close(self) -> None:
        """The budget has ended, and nothing runs: who waits between rungs goes no further."""
        self._put_back_waiting()
        waiting = self._standing.halving.waiting()
        self._ledger.mark(waiting, "pruned")
        for number in waiting:
            self._ledger.end(number, TrialState.PRUNED)
            self._proposer.prune(number)
            self._standing.halving.leaves(number)

    def _put_back(self, number: int, place: Place) -> None:
        """Nobody evaluates it there any more: a later run is to."""
        if place.repeat:
            self._ledger.mark([number], "waiting")
        else:
            self._ledger.put_back(number)

    def _put_back_waiting(self) -> None:
        """Who is to go on with another task, later."""
        while self._agenda.further:
            self._put_back(*self._agenda.further.popleft())

    def _remember(self, trial: FrozenTrial) -> list[RunRecord] | None:
        """A trial that an earlier run made, with all that the database says of it; what of that
        the run did not take in (`untold`)."""
        said, number = trial.user_attrs, trial.number
        costs = {name: value for name, value in said.items() if is_cost(name)}
        known = Trial(trial.params, said["arch"], costs, said["arch digest"] in self._seeds)
        record = self._ledger.records.get(number)
        left = untold(trial, record)
        told = [run for run in record.runs if run not in (left or ())] if record else []
        self._standing.recall(number, known, told, trial.state.is_finished())
        self._fresh.saw(said["arch digest"])
        self._proposer.remember(trial, known.scores)
        return left and sorted(left, key=self._standing.order)

    def _take_up(self, trials: Sequence[tuple[int, list[RunRecord] | None]]) -> None:
        """What an earlier run left: results that it missed are told, the rest is to be queued."""
        left = [(number, runs) for number, runs in trials if runs is not None]
        first_is_left = sum(self._standing.is_first(runs) for _, runs in left)
        self.observer.began(len(trials) - first_is_left)
        self._ledger.mark_left_retrainings()
        for number, runs in left:
            place: Place | None = self.problem.first
            for run in runs:
                self._standing.halving.begins(run.rung, number)
                if run.evaluation is None:
                    place = run.place
                elif self._standing.is_last(run):
                    self._tell(number, run.place, run.evaluation, run.reused)
                    place = None
                else:
                    _, place = self._standing.takes_in(number, run)
            if place is not None:
                self._ledger.put_back(number)
                self._agenda.left.append((number, place))

    def _new(self) -> Job | None:
        """The trial of a new proposal; None where none is wanted, or none was found that is new
        and fits."""
        if not self._agenda.may_propose:
            return None
        proposal = self._fresh.next()
        if proposal is None:
            self._agenda.exhausted = True
            return None
        slacks = self.problem.feasibility.slacks(proposal.costs)
        number = self._ledger.create(proposal, self._proposer.distributions, slacks)
        self._proposer.link(proposal.mirror, number)
        self._standing.trials[number] = Trial(
            proposal.genome,
            proposal.architecture.short,
            proposal.costs,
            proposal.digest in self._seeds,
        )
        return number, self.problem.first

    def _run(self, number: int, place: Place) -> RunRecord | None:
        """A trial's run as it is now; None where it was never leased there."""
        record = self._ledger.record(number)
        runs = record.runs if record else ()
        return next((run for run in runs if run.place == place), None)

    def _adopt(self, number: int, place: Place) -> Candidate | None:
        """What an earlier run left, leased again; None when its result came after all."""
        run = self._run(number, place)
        if run is not None and run.evaluation is not None:
            self._tell(number, place, run.evaluation, run.reused)
            return None
        self._ledger.take_up(number)
        return self._begin(number, place)

    def _begin(self, number: int, place: Place) -> Candidate | None:
        """A candidate under a new lease, or None when its evaluation is known and was told."""
        trial, problem = self._standing.trials[number], self.problem
        if not place.repeat:
            self._standing.halving.begins(place.rung, number)
        architecture = self.space.decode(trial.genome)
        found = self._ledger.lease(number, architecture, trial.costs, place)
        if isinstance(found, Evaluation):
            self._tell(number, place, found, reused=True)
            return None
        return Candidate(
            number=number,
            token=found,
            architecture=architecture,
            digest=architecture.digest,
            costs=trial.costs,
            protocol=problem.terms(place),
            recorded=problem.recorded_costs(trial.genome, trial.costs, place),
            place=place,
            stage=problem.stage(place),
            # Exports are of the first task.
            keeps_weights=place == self.problem.first._replace(rung=problem.top),
        )

    def _tell(self, number: int, place: Place, evaluation: Evaluation, reused: bool) -> None:
        """Takes in how a run ended, and tells whoever is to know."""
        self.running.pop(number, None)
        problem, standing = self.problem, self._standing
        rung, repeat, _ = place
        digest, where = evaluation.protocol_digest, place._asdict()
        run = RunRecord(**where, protocol_digest=digest, evaluation=evaluation, reused=reused)
        found, left = standing.takes_in(number, run)
        if left is not None:
            self._agenda.further.append((number, left))
        elif repeat:
            standing.finals.ended(number, repeat)
        else:
            self._rung_ended(number, rung, found, reused)
        self._spending.ended(evaluation, place, reused)
        trial = standing.trials[number]
        self.observer.finished(
            Finished(
                number,
                trial.short,
                trial.costs,
                {named(t, own): v for t, e in found.items() for own, v in e.metrics.items()},
                evaluation.timing.get("total_s") or 0.0,
                evaluation.reason,
                evaluation.message,
                reused,
                begins=place == self.problem.first,
                counts=rung == problem.top and not repeat and self._is_kept(number, found),
                stage=problem.stage(place),
            )
        )

    def _is_kept(self, number: int, found: Evaluations) -> bool:
        return self._standing.values(number, found) is not None and self.problem.is_kept(found)

    def _rung_ended(self, number: int, rung: int, found: Evaluations, reused: bool) -> None:
        """A trial's evaluations at a rung have ended: all of them, or one of them badly."""
        problem, trial = self.problem, self._standing.trials[number]
        values = self._standing.values(number, found)
        if values is None or rung == problem.top:
            self._end(number, found, values, reused)
            return
        self._standing.passed(number, rung, values)
        self._proposer.inform(number, trial.scores)
        scores = zip(problem.measured, trial.scores[-1], strict=True)
        self._ledger.note(number, {f"{rung_words(rung)}{name}": score for name, score in scores})

    def _end(
        self, number: int, found: Evaluations, values: tuple[float, ...] | None, reused: bool
    ) -> None:
        """Ends a trial: with its values at the top, or because it failed."""
        state = TrialState.FAIL if values is None else TrialState.COMPLETE
        said = result_attributes(found, self.problem.figures, reused)
        costs = self._standing.trials[number].costs
        slacks = None if values is None else self.problem.slacks(found, costs)
        self._ledger.end(number, state, values, said, slacks)
        self._proposer.tell(number, values, slacks)
        self._standing.halving.leaves(number)
        if values is not None:
            self._standing.completed(number, values, found)
