"""The store's methods about what trainings took."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from . import past
from .engine import Database
from .records import Ended, Place, Training


class PastMethods:
    """Part of `Store`, which says what holds for every method."""

    _database: Database

    def protocols(self) -> dict[str, str]:
        """The JSON of all protocols, by digest."""
        return self._database.read(past.protocols)

    def trained(self, protocol_digests: Collection[str]) -> list[Training]:
        """The trainings under these protocols that ended well and whose time is known, of all
        studies, each once, oldest first."""
        return self._database.read(partial(past.trained, protocol_digests=protocol_digests))

    def scored(self, protocol_digest: str) -> set[str]:
        """Digests of the architectures with an evaluation under a protocol that is ok."""
        return self._database.read(partial(past.scored, protocol_digest=protocol_digest))

    def ended(self, study: str) -> list[Ended]:
        """How many runs of a study have ended, those that were known before too."""
        return self._database.read(partial(past.ended, study=study))

    def terms(self, study: str) -> set[tuple[str, Place]]:
        """Digests of the protocols of a study's runs, with the places of those runs."""
        return self._database.read(partial(past.terms, study=study))

    def gpu_seconds(self, study: str) -> float:
        """Of all that a study trained."""
        return self._database.read(partial(past.gpu_seconds, study=study))

    def waits(self) -> list[float]:
        """Of each session that trained something: seconds until the first training began."""
        return self._database.read(past.waits)
