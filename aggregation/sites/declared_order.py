"""The aggregator's order along a declared schedule: what comes early waits, an absence stalls.

Between machines nobody's pace is simulated. What was priced is *which* uploads each sum holds and
at which version each was sealed; so models leave once the version that their upload is sealed at is
there, and an upload that comes before its sum is open is kept back.
"""

from collections.abc import Iterator

from aggregation.roles.messages import Message, MessageKind
from aggregation.timing.schedule import Arrival, Schedule

__all__ = ["DeclaredOrder"]


class DeclaredOrder:
    """Holds back what is not due yet; it decides by versions alone, never by the clock.

    Guarantees (each is a test in ``tests/aggregation/sites/test_sent_rows.py``):
      - a model leaves when as many sums are opened as when its upload is sealed, and no earlier;
      - an upload comes in when the sum that it belongs to is open, and no earlier;
      - what is forgotten at ``clear`` is asked for again by the aggregator that is woken.

    Args:
      schedule: As declared.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._arrivals: dict[tuple[str, int], tuple[int, Arrival]] = {
            (arrival.hospital, arrival.base_version): (opening.version, arrival)
            for opening in schedule.openings
            for arrival in opening.arrivals
        }
        self._models: dict[tuple[str, int], Message] = {}
        self._updates: dict[tuple[str, int], Message] = {}

    def clear(self) -> None:
        """Forget the models that wait to leave: whoever is woken says them again."""
        self._models = {}

    def holds_model(self, message: Message, opened: int) -> bool:
        """Whether a model has to wait; it is kept if so."""
        place = (message.receiver, message.round)
        if message.kind is not MessageKind.MODEL or place not in self._arrivals:
            return False
        if opened >= self._arrivals[place][1].sealed_version:
            return False
        self._models[place] = message
        return True

    def holds_update(self, message: Message, opened: int) -> bool:
        """Whether an upload has to wait; it is kept if so."""
        place = (message.sender, message.round)
        if message.kind is not MessageKind.UPDATE or place not in self._arrivals:
            return False
        if opened >= self._arrivals[place][0]:
            return False
        self._updates[place] = message
        return True

    def models_due(self, opened: int) -> Iterator[Message]:
        """Return the models whose time has come, each once."""
        for place in [*self._models]:
            if opened >= self._arrivals[place][1].sealed_version:
                yield self._models.pop(place)

    def updates_due(self, opened: int) -> Iterator[Message]:
        """Return the uploads whose time has come, each once."""
        for place in [*self._updates]:
            if opened >= self._arrivals[place][0]:
                yield self._updates.pop(place)
