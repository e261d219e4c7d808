"""What people see of an ablation: what would be trained, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

from ..ablate import Ablation
from ..ablate.effects import CONFIDENCE
from ..ablate.setup import Setup
from ..ablate.twins import StageMixer, Twin
from ..ablate.words import POWER_WORDS, amount, criterion, places_words, sentence
from ..cost import Cost
from ..counting import number_of, pixels
from ..search.counted import counted_size
from ..search.job_forecast import JobForecast
from ..search.plan import counted_costs
from .common import fidelity_words, in_units, print_json, print_table
from .folding import say
from .forecast_view import forecast_words


def print_setup(setup: Setup, forecast: JobForecast, as_json: bool) -> None:
    """What `--dry-run` says."""
    study = setup.plan.study
    networks = [setup.original, *(twin.architecture for twin in setup.twins)]
    costs = [counted_costs(setup.plan, n, study.fidelity.resolution) for n in networks]
    described = [
        {"arch": network.digest, "stages": network.short, **cost, "network": network.to_dict()}
        for network, cost in zip(networks, costs, strict=True)
    ]
    if as_json:
        twins = [
            {"replaced": _places(twin.places), "macs_difference": twin.macs_difference, **known}
            for twin, known in zip(setup.twins, described[1:], strict=True)
        ]
        about = {"study": study.name, "metric": study.measured, "seeds": setup.seeds}
        (kind,) = forecast.kinds
        timed = {"seconds_each": kind.seconds, "devices": kind.devices, **forecast.as_json()}
        print_json({**about, "original": described[0], "twins": twins, **timed})
        return
    replaced = ["nothing", *(places_words(twin.places) for twin in setup.twins)]
    differences = ["", *(f"{100 * twin.macs_difference:+z.2f} %" for twin in setup.twins)]
    shorts = [network.short for network in networks]
    macs = [in_units(cost["macs"]) for cost in costs]
    size = pixels(counted_size(study))
    print_table(
        f"{study.name} would train, at {fidelity_words(study.fidelity)} (nothing was written)",
        ("replaced", "stages", f"MACs at {size}", "difference"),
        zip(replaced, shorts, macs, differences, strict=True),
    )
    say("difference: from the original in the MACs of stem and stages; the head is the same")
    for words, twin in zip(replaced[1:], setup.twins, strict=True):
        say(f"{words}: {'; '.join(_stages_of(twin))}")
    say(forecast_words(forecast))


def print_ablation(ablation: Ablation) -> None:
    """The effects as a table, and a sentence each."""
    original, family = ablation.original, len(ablation.comparisons)
    rows = [
        (
            places_words(comparison.places),
            _criteria(comparison.places, original.cost),
            comparison.twin.architecture.short,
            f"{in_units(comparison.twin.cost.macs)} ({100 * comparison.macs_difference:+z.2f} %)",
            "-" if comparison.effect is None else amount(comparison.effect, ablation.metric),
        )
        for comparison in ablation.comparisons
    ]
    print_table(
        f"{ablation.study}: {original.architecture.short} ({in_units(original.cost.macs)} MACs) "
        f"and its Gated CNN twins, after {fidelity_words(ablation.protocol.fidelity)}",
        ("replaced", "L/6D", "twin", "MACs", f"original better by, {ablation.metric}"),
        rows,
    )
    for comparison in ablation.comparisons:
        say(sentence(comparison, ablation.metric))
    if original.failed:
        say(f"{number_of(original.failed, 'training')} of the original failed")
    together = f" for all {family} together (Bonferroni)" if family > 1 else ""
    say(
        f"intervals: paired t over seeds, {100 * CONFIDENCE:g} %{together}; L/6D above 1: a long "
        f"sequence, for which the MambaOut paper holds an SSM worth trying"
    )
    effects = [c.effect for c in ablation.comparisons if c.effect]
    if any(e.low is not None and e.verdict == "unknown" for e in effects):
        say(POWER_WORDS)


def _places(places: Sequence[StageMixer]) -> list[dict[str, object]]:
    return [{"stage": place.stage, "mixer": place.mixer} for place in places]


def _stages_of(twin: Twin) -> list[str]:
    """What stands in the stages that were changed."""
    lines = twin.architecture.describe()
    return [lines[stage - 1] for stage in sorted({place.stage for place in twin.places})]


def _criteria(places: Sequence[StageMixer], cost: Cost) -> str:
    stages = sorted({place.stage for place in places})
    return "\n".join(criterion(cost.stages[stage - 1]) for stage in stages)
