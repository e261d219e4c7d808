"""The command that judges a study's proxy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import CALIBRATION, Fidelity, Study, parse_study
from ..counting import number_of, pixels
from ..errors import ConfigError
from ..rank_correlation import FEWEST
from ..search.asked import study_to_run
from ..search.counted import counted_size
from ..search.early import check_early
from ..search.proxy_words import interval
from ..store import Store
from .common import (
    DEFAULT_STORAGE,
    AsJson,
    Ray,
    Settings,
    Storage,
    StudyArgument,
    console,
    fidelity_words,
    in_units,
    loading,
    print_facts,
    print_json,
    print_table,
)
from .folding import say
from .resolve import known_study

if TYPE_CHECKING:
    from ..search.calibration import Calibration, Setting
    from ..search.job_forecast import JobForecast, JobKind
    from ..search.plan import Plan

_USUAL_ARCHS = 24

Archs = Annotated[
    int | None,
    typer.Option(
        min=FEWEST,
        metavar="N",
        help=f"Architectures, spread evenly over the space's MACs. Default: {_USUAL_ARCHS}.",
        show_default=False,
    ),
]
Seeds = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Trainings of each at both fidelities, with seeds of their own; from 2 on it "
        "is told how well two seeds of the longer one agree. Default: 1.",
        show_default=False,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Judge the fidelity that the study searches at by so many epochs of the same.",
    ),
]
Rungs = Annotated[
    str | None,
    typer.Option(
        metavar="LOW,HIGH",
        help="Judge one rung of the study's ladder by another, counted from 1. Default: the "
        "lowest by the top one.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with the one that was interrupted, as it was begun."),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Say what would be trained and how long it takes; write nothing."
    ),
]


def register(app: typer.Typer) -> None:
    app.command()(calibrate)


def calibrate(
    study: StudyArgument,
    archs: Archs = None,
    seeds: Seeds = None,
    epochs: Epochs = None,
    rungs: Rungs = None,
    resume: Resume = False,
    storage: Storage = DEFAULT_STORAGE,
    ray: Ray = None,
    settings: Settings = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Tell how well a study's cheap training ranks architectures as a longer one does.

    Trains N architectures of the study's space, within its constraints, at both fidelities, and
    reports Kendall's tau of the two scores with a 95 % interval: overall, and at equal MACs, where
    MACs have nothing to say any more. A proxy that does not beat `macs` and `params` tells nothing.
    The figure is kept and stands under every front that used the fidelity. What is known already
    is not trained again, here or in a later search; weights are not kept.
    Examples: `hybridnas calibrate images64 --archs 24 --epochs 60`, `hybridnas calibrate study.yaml
    --rungs 1,2 --dry-run`, `hybridnas calibrate images64 --resume`
    """
    if resume:
        asked = {"archs": archs, "seeds": seeds, "epochs": epochs, "rungs": rungs, "set": settings}
        _check_nothing_is_asked(asked)
        found, setting = _begun(known_study(study), storage)
    else:
        found = study_to_run(study, storage, True, settings or [])
        check_early(found)
        setting = _setting(found, archs or _USUAL_ARCHS, seeds or 1, epochs, rungs)
    with loading() as now:
        from ..search.calibration import Calibration, calibration_study
        from ..search.job_forecast import forecast_jobs
        from ..search.plan import make_plan

        now.update("looking at the space and the data ...")
        plan = make_plan(calibration_study(found, setting))
        calibration = Calibration(plan, setting)
        forecast = forecast_jobs(plan.study, calibration.jobs, storage, ray)
    if dry_run:
        _print_plan(plan, calibration, forecast, as_json)
        return
    from ..search.driver import run_calibration
    from .forecast_view import forecast_words
    from .live import Lines, LiveView

    out = console(stderr=True)
    out.print(_cost_words(plan, setting))
    out.print(forecast_words(forecast))
    watch = LiveView(plan.study, out) if out.is_terminal else Lines(plan.study, out)
    with Store.open(storage) as store, watch:
        result = run_calibration(plan, store, setting, ray_address=ray, observer=watch)
    if result is None:
        say("interrupted; go on with --resume", err=True)
        raise typer.Exit(130)
    if as_json:
        print_json({"study": found.name, **setting.as_json(plan.study.measured), **result})
    else:
        _print(found.name, setting, plan.study.measured, result)


def _setting(
    study: Study, archs: int, seeds: int, epochs: int | None, rungs: str | None
) -> Setting:
    """What the options ask for; ConfigError where they name no two fidelities."""
    with loading():
        from ..search.calibration import Setting

    if epochs is not None and rungs is not None:
        raise ConfigError("give --epochs or --rungs, not both")
    if epochs is not None:
        proxy = study.fidelity
        if proxy.iterations is not None:
            raise ConfigError(
                f"--epochs: the study's fidelity ends after {proxy.iterations} iterations; give "
                f"it a ladder of fidelities, and --rungs"
            )
        if epochs <= proxy.epochs:
            raise ConfigError(
                f"--epochs takes more than the {proxy.epochs} of the study's own, got {epochs}"
            )
        return Setting(archs, seeds, proxy, proxy.model_copy(update={"epochs": epochs}))
    number = len(study.fidelities)
    if number == 1:
        raise ConfigError(
            f"study {study.name!r} has one fidelity ({fidelity_words(study.fidelity)}): say what "
            f"it is to be judged by, --epochs N, or give it a ladder of fidelities"
        )
    words = (rungs or f"1,{number}").split(",")
    places = [int(word) for word in words if word.strip().isdecimal()]
    if len(words) != 2 or len(places) != 2 or not 1 <= places[0] < places[1] <= number:
        raise ConfigError(f"--rungs takes LOW,HIGH, two of 1 to {number}, got {rungs!r}")
    low, high = (study.fidelities[place - 1] for place in places)
    return Setting(archs, seeds, low, high)


def _check_nothing_is_asked(options: Mapping[str, object]) -> None:
    given = [f"--{name}" for name, value in options.items() if value]
    if given:
        raise ConfigError(
            f"--resume goes on with what the calibration began with: leave {', '.join(given)} out"
        )


def _begun(name: str, storage: str) -> tuple[Study, Setting]:
    """The study and setting of a calibration that was not finished."""
    with loading():
        from ..search.calibration import Setting

    own = name.removesuffix(CALIBRATION) + CALIBRATION
    with Store.open(storage, create=False) as store:
        found, config = store.calibrations(study=own), store.study_config(own)
    if not found or config is None or found[-1].result is not None:
        raise ConfigError(f"no calibration of {name!r} waits to be finished: leave --resume out")
    asked: Any = found[-1].settings
    low, high = (Fidelity.model_validate(asked[side]) for side in ("proxy", "judge"))
    return parse_study(config, f"study {own!r}"), Setting(asked["archs"], asked["seeds"], low, high)


def _cost_words(plan: Plan, setting: Setting) -> str:
    from ..search.ladder import ladder

    rungs = {rung.fidelity: rung for rung in ladder(plan)}
    low, high = rungs[setting.proxy], rungs[setting.judge]
    each = setting.archs * setting.seeds
    return (
        f"{number_of(setting.archs, 'architecture')} x {number_of(setting.seeds, 'seed')}: "
        f"{number_of(each, 'training')} of "
        f"{fidelity_words(low.fidelity)}, {in_units(low.image_macs)} MACs each (images x MACs of "
        f"the median), and {each} of {fidelity_words(high.fidelity)}, {in_units(high.image_macs)}"
    )


def _print_plan(plan: Plan, calibration: Calibration, forecast: JobForecast, as_json: bool) -> None:
    """What `--dry-run` says."""
    from .forecast_view import forecast_words

    study, setting, members = plan.study, calibration.setting, calibration.members
    if as_json:
        archs = [{"arch": a.digest, "stages": a.short, **costs} for a, costs in members]
        kinds = [_kind_json(kind) for kind in forecast.kinds]
        asked = {**setting.as_json(study.measured), "networks": archs, "kinds": kinds}
        print_json({"study": study.name, **asked, **forecast.as_json()})
        return
    macs = [costs["macs"] for _, costs in members]
    size = pixels(counted_size(study))
    print_facts(
        f"{study.name} would train (nothing was written)",
        [
            ("MACs", f"from {in_units(min(macs))} to {in_units(max(macs))} at {size}"),
            ("training", _cost_words(plan, setting)),
            ("time", forecast_words(forecast)),
        ],
    )


def _kind_json(kind: JobKind) -> dict[str, Any]:
    scaled = kind.scaled and kind.scaled.model_dump()
    return {**asdict(kind), "fidelity": kind.fidelity.model_dump(), "scaled": scaled}


def _print(name: str, setting: Setting, metric: str, result: dict[str, Any]) -> None:
    taus = result["tau"]
    rows = [
        ("proxy", interval(taus["proxy"]["overall"]), interval(taus["proxy"]["equal_macs"])),
        ("params", interval(taus["params"]["overall"]), interval(taus["params"]["equal_macs"])),
        ("macs", interval(taus["macs"]["overall"]), ""),
    ]
    judge, proxy = fidelity_words(setting.judge), fidelity_words(setting.proxy)
    print_table(
        f"{name}: tau with {metric} after {judge}, over {result['architectures']} architectures",
        ("score", "overall [95 %]", "at equal MACs [95 %]"),
        rows,
    )
    seconds = result["seconds"]
    say(
        f"proxy: {metric} after {proxy}, {seconds['proxy']:.1f} s a training; "
        f"{seconds['judge']:.1f} s for what judges it"
    )
    if setting.seeds > 1:
        say(f"two seeds of the judge: tau {interval(result['between_seeds'])}")
    if result["failed"]:
        say(f"left out: {number_of(result['failed'], 'architecture')} that failed to train")
