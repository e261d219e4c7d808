"""The colours of pictures, plots and reports, in one place.

Okabe & Ito's palette ("Color Universal Design", 2008), whose colours people with colour blindness
can tell apart; letters, shapes and words say the same once more.
"""

from __future__ import annotations

from collections.abc import Iterable

MIXER_COLOURS = {
    "gated_conv": "#0072B2",
    "ssm": "#D55E00",
    "attention": "#009E73",
    "conv": "#56B4E9",
}
SPARE_COLOURS = ("#CC79A7", "#E69F00", "#F0E442")  # for mixers of one's own, in turn

FRONT = "#0072B2"  # members of a front
DOMINATED = "#9AA0A6"  # kept the constraints, is on no front
INFEASIBLE = "#E69F00"  # broke a constraint
REFERENCE = "#CC79A7"  # a published architecture
"""What plots of a study show of a trial; each has a marker of its own, too."""

ERRORS = "#59636e"  # bars of the front's errors, which its steps cross


def mixer_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each mixer, in the order given; for all that is shown together, so that those
    of one's own differ too (as far as there are colours)."""
    each = list(dict.fromkeys(names))
    own = [name for name in each if name not in MIXER_COLOURS]
    spare = {name: SPARE_COLOURS[i % len(SPARE_COLOURS)] for i, name in enumerate(own)}
    return {name: MIXER_COLOURS.get(name) or spare[name] for name in each}
