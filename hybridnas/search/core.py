"""The search core: owns the study in the database; asks, decides, tells, reconciles.

It knows neither Ray nor training nor vision: whoever drives it asks for a candidate, has it
evaluated under the candidate's lease, and settles it. A trial is one proposal; it is evaluated at
the rungs of a ladder, one after the other as far as it gets, and perhaps again at the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from optuna.trial import FrozenTrial, TrialState

from ..objectives import CLOSED_FORM
from ..store import Evaluation, RunRecord, Store
from .attributes import result_attributes
from .fresh import FreshProposals
from .leases import evaluation_of
from .ledger import Ledger
from .observer import Candidate, Finished, Observer, Silent
from .problem import Problem
from .proposer import Proposer
from .samplers import make_sampler
from .spending import Spending
from .standing import Standing, Trial, last_run, rung_words, unsettled


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
        self._exhausted = False
        self._spent: str | None = None
        self._width = 1  # candidates at once
        seed, hard, objectives = problem.seed, problem.feasibility, problem.objectives
        sampler, ways = make_sampler(problem.sampler, hard, objectives, seed), objectives.values()
        self._proposer = Proposer(self.space.genes, list(ways), sampler, hard.num_slacks)
        self._seeds = {self.space.decode(genome).digest for genome in problem.references}
        self._fresh = FreshProposals(hard, self._proposer, seed, problem.references)
        before_s = sum(s.duration_s for s in store.sessions(self.name) if s.ended_at)
        self._spending = Spending(problem.budget, before_s, problem.top)
        for trial in self._ledger.trials:
            self._remember(trial)
        self._queue: deque[tuple[int, int]] = deque()  # number and rung
        self._take_up(unsettled(self._ledger.trials, self._ledger.records))
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
        if (spent := self._spending.over()) is not None:
            return spent
        over = None if self._queue else self._search_is_over()
        if over is None or self.problem.final is None:
            return over
        return None if self._searching or self._standing.finals.left() else over

    def ask(self) -> Candidate | None:
        """The next candidate to evaluate, or None: there is none (see `stop_reason`), or none
        until something that runs has ended.

        First what an earlier run left unfinished, then who may go on to a higher rung, then
        references, then the sampler's proposals; at the end of the search the retrainings. What
        is known already is told at once and not returned.
        """
        while self.stop_reason is None:
            if self._queue:
                candidate = self._adopt(*self._queue.popleft())
            elif (job := self._job()) is not None:
                candidate = self._begin(*job)
            elif self.running:
                return None
            else:
                continue  # just now it was found that nothing is left to propose
            if candidate is not None:
                self.running[candidate.number] = candidate
                self._width = max(self._width, len(self.running))
                self.observer.started(candidate)
                return candidate
        return None

    def settle(self, number: int) -> str | None:
        """Tells the study what the store holds of a candidate; nothing there: its node is lost.

        Returns the reason of a failure.
        """
        candidate = self.running[number]
        evaluation = evaluation_of(self.store, self.name, candidate)
        self._tell(number, candidate.rung, candidate.repeat, evaluation, reused=False)
        return evaluation.reason

    def release(self) -> None:
        """What is running is for a later run (after an interruption)."""
        for number, candidate in list(self.running.items()):
            place = candidate.rung, candidate.repeat
            record = self._ledger.record(number)
            assert record is not None, "a candidate was leased before it was given out"
            run = next(run for run in record.runs if (run.rung, run.repeat) == place)
            if run.evaluation is not None:
                self._tell(number, *place, run.evaluation, run.reused)
            else:
                self.lost(number)

    def lost(self, number: int) -> None:
        """A candidate ended without a result: it is put back into the queue."""
        candidate = self.running.pop(number)
        if candidate.repeat:  # what is left to retrain is known without a queue
            self._ledger.mark([number], "waiting")
        else:
            self._ledger.put_back(number)
            self._queue.append((number, candidate.rung))

    def close(self) -> None:
        """The budget has ended, and nothing runs: who waits between rungs goes no further."""
        waiting = self._standing.halving.waiting()
        self._ledger.mark(waiting, "pruned")
        for number in waiting:
            self._ledger.end(number, TrialState.PRUNED)
            self._proposer.prune(number)
            self._standing.halving.leaves(number)

    def _remember(self, trial: FrozenTrial) -> None:
        """A trial that an earlier run made, with all that the database says of it."""
        said, over = trial.user_attrs, trial.state.is_finished()
        costs = {name: float(said[name]) for name in CLOSED_FORM if name in said}
        known = Trial(trial.params, said["arch"], costs, said["arch digest"] in self._seeds)
        self._standing.recall(trial.number, known, self._ledger.records.get(trial.number), over)
        self._fresh.saw(said["arch digest"])
        self._proposer.remember(trial, known.scores)

    def _take_up(self, left: Mapping[int, RunRecord | None]) -> None:
        """What an earlier run left: results that it missed are told, the rest is to be queued."""
        at_their_first = sum(run is None or run.rung == 0 for run in left.values())
        self.observer.began(len(self._standing.trials) - at_their_first)
        for number, run in left.items():
            if run is not None and run.evaluation is not None:
                self._tell(number, run.rung, 0, run.evaluation, run.reused)
                continue
            self._ledger.put_back(number)
            self._queue.append((number, run.rung if run else 0))

    def _search_is_over(self) -> str | None:
        """Why the search itself ends, perhaps for the retraining to begin; None: it goes on."""
        final, finals = self.problem.final, self._standing.finals
        if final is not None and self._spent is None:
            running = [c.rung for c in self.running.values() if not c.repeat]
            # A finalist is trained once at a time.
            width = min(final.retrain, max(self._width, self._spending.width))
            self._spent = self._spending.over(finals.to_come, width, running)
        if self._spent is not None:
            return self._spent
        if self._may_propose or self._standing.halving.next() is not None:
            return None
        top = self.problem.top
        if any(not c.repeat and c.rung < top for c in self.running.values()):
            return None
        return "exhausted" if self._exhausted and not self._standing.all_proposed else "trials"

    @property
    def _searching(self) -> bool:
        """Whether something runs whose score may decide who is trained again."""
        return any(not candidate.repeat for candidate in self.running.values())

    @property
    def _may_propose(self) -> bool:
        return not (self._exhausted or self._standing.all_proposed)

    def _job(self) -> tuple[int, int, int] | None:
        """What to evaluate next, as trial, rung and repeat; None: nothing, or nothing yet."""
        if self._search_is_over() is not None:
            left = [] if self._searching else self._standing.finals.left()
            jobs = ((n, self.problem.top, repeat) for n, repeat in left if n not in self.running)
            return next(jobs, None)
        goes_on = self._standing.halving.next()
        if goes_on is not None:
            return *goes_on, 0
        new = self._new() if self._may_propose else None
        return None if new is None else (new, 0, 0)

    def _new(self) -> int | None:
        """The trial of a new proposal; None when none was found that is new and fits."""
        proposal = self._fresh.next()
        if proposal is None:
            self._exhausted = True
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
        return number

    def _adopt(self, number: int, rung: int) -> Candidate | None:
        """What an earlier run left, leased again; None when its result came after all."""
        run = last_run(self._ledger.record(number))
        if run is not None and run.evaluation is not None:
            self._tell(number, run.rung, 0, run.evaluation, run.reused)
            return None
        self._ledger.take_up(number)
        return self._begin(number, rung, 0)

    def _begin(self, number: int, rung: int, repeat: int) -> Candidate | None:
        """A candidate under a new lease, or None when its evaluation is known and was told."""
        trial, problem = self._standing.trials[number], self.problem
        if not repeat:
            self._standing.halving.begins(rung, number)
        architecture, terms = self.space.decode(trial.genome), problem.terms(rung, repeat)
        found = self._ledger.lease(number, architecture, trial.costs, terms, rung, repeat)
        if isinstance(found, Evaluation):
            self._tell(number, rung, repeat, found, reused=True)
            return None
        return Candidate(
            number=number,
            token=found,
            architecture=architecture,
            digest=architecture.digest,
            costs=trial.costs,
            protocol=terms,
            recorded=problem.recorded_costs(trial.genome, trial.costs, rung),
            rung=rung,
            repeat=repeat,
            stage=problem.stage(rung, repeat),
            keeps_weights=rung == problem.top and not repeat,
        )

    def _tell(
        self, number: int, rung: int, repeat: int, evaluation: Evaluation, reused: bool
    ) -> None:
        """Takes in how a run ended, and tells whoever is to know."""
        self.running.pop(number, None)
        trial, top = self._standing.trials[number], self.problem.top
        values = self._standing.values(number, evaluation)
        if repeat:
            self._standing.finals.ended(number, repeat)
        elif values is not None and rung < top:
            self._standing.passed(number, rung, values)
            self._proposer.inform(number, trial.scores)
            named = zip(self.problem.measured, trial.scores[-1], strict=True)
            self._ledger.note(number, {f"{rung_words(rung)}{name}": value for name, value in named})
        else:
            self._end(number, evaluation, values, reused)
        self._spending.ended(evaluation, rung, reused)
        self.observer.finished(
            Finished(
                number,
                trial.short,
                trial.costs,
                evaluation.metrics,
                evaluation.timing.get("total_s") or 0.0,
                evaluation.reason,
                evaluation.message,
                reused,
                begins=not (rung or repeat),
                counts=rung == top and not repeat,
                stage=self.problem.stage(rung, repeat),
            )
        )

    def _end(
        self,
        number: int,
        evaluation: Evaluation,
        values: tuple[float, ...] | None,
        reused: bool,
    ) -> None:
        """Ends a trial: with its values at the top, or because it failed."""
        state = TrialState.FAIL if values is None else TrialState.COMPLETE
        said = result_attributes(evaluation, self.problem.figures, reused)
        costs = self._standing.trials[number].costs
        slacks = None if values is None else self.problem.slacks(evaluation, costs)
        self._ledger.end(number, state, values, said, slacks)
        self._proposer.tell(number, values, slacks)
        self._standing.halving.leaves(number)
        if values is not None:
            self._standing.completed(number, values, evaluation)
