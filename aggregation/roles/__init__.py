"""The parties of a federation as functions of messages: no socket, no event loop, no clock.

    hospital    spends, reads, seals, signs      aggregator  adds, can open nothing
    opener      holds the key, opens sums        holder      has a part of what opens, and answers

A role is driven by ``handle`` alone; whatever carries the messages is an engine
(``aggregation.engines``).
"""

from typing import Protocol, runtime_checkable

from aggregation.roles.messages import Message, SetTimer, Timer

__all__ = ["Role"]


@runtime_checkable
class Role(Protocol):
    """One party."""

    def handle(self, incoming: Message | Timer) -> tuple[Message | SetTimer, ...]:
        """Take a message, or the news that a time has come; return what to send, and when to wake.

        A tuple, not a lazy iterable: what the role has to remember is remembered when it returns.

        Raises:
          InpatientError: The message is refused; the role is as it was before.
        """
        ...
