"""What people read of a forecast of given trainings."""

from __future__ import annotations

from ..counting import number_of
from ..search.forecast import course_words
from ..search.job_forecast import JobForecast, JobKind
from ..search.words import time_words
from .common import fidelity_words


def all_known(forecast: JobForecast) -> bool:
    return forecast.known == forecast.trainings


def forecast_words(forecast: JobForecast) -> str:
    """`20 trainings, 3 known; one takes about 12 s (on NVIDIA H200): in all 2 min with 2 at once,
    20 s of it before the first begins`"""
    if all_known(forecast):
        return f"{number_of(forecast.trainings, 'training')}, all known"
    words = f"{number_of(forecast.trainings, 'training')}, {forecast.known} known"
    kinds = [kind for kind in forecast.kinds if kind.left]
    if all(kind.seconds is None for kind in kinds):
        return f"{words}; how long one takes is not known yet"
    several = len(forecast.kinds) > 1
    words += f"; one takes {', '.join(_each(kind, several) for kind in kinds)}"
    if forecast.hours is None or forecast.at_once is None:
        return words
    course = course_words(forecast.hours, forecast.at_once, forecast.seconds_to_begin)
    return f"{words}: in all {course}"


def _each(kind: JobKind, several: bool) -> str:
    at = f" at {fidelity_words(kind.fidelity)}" * several
    if kind.seconds is None:
        return f"an unknown time{at}"
    by = "" if kind.scaled is None else f", by those of {fidelity_words(kind.scaled)}"
    return f"about {time_words(kind.seconds / 3600)}{at} (on {', '.join(kind.devices)}{by})"
