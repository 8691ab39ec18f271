"""The engine in one process: every message once, in order, and nothing beside it."""

from collections.abc import Callable

import pytest

from aggregation.engines.in_process import InProcess
from aggregation.roles.messages import AGGREGATOR, Message, MessageKind, SetTimer, Timer, TimerKind
from privacy.errors import RefusedError

Said = tuple[Message | SetTimer, ...]


class Scripted:
    """A role that answers by a function, and remembers what it was told."""

    def __init__(self, answer: Callable[[Message | Timer], Said]) -> None:
        self.answer = answer
        self.told: list[Message | Timer] = []

    def handle(self, incoming: Message | Timer) -> Said:
        self.told.append(incoming)
        return self.answer(incoming)


def say(sender: str, receiver: str, kind: MessageKind, payload: bytes = b"") -> Message:
    return Message(sender, receiver, kind, 0, payload)


def test_the_transcript_is_what_passed_once_and_in_order() -> None:
    def server(incoming: Message | Timer) -> Said:
        if isinstance(incoming, Timer):
            return tuple(say(AGGREGATOR, n, MessageKind.MODEL, n.encode()) for n in ("a", "b"))
        return ()

    def client(incoming: Message | Timer) -> Said:
        assert isinstance(incoming, Message)
        return (say(incoming.receiver, AGGREGATOR, MessageKind.UPDATE, incoming.payload),)

    aggregator = Scripted(server)
    seen: list[Message] = []
    engine = InProcess(
        {AGGREGATOR: aggregator, "a": Scripted(client), "b": Scripted(client)}, watch=seen.append
    )
    engine.run()
    passed = list(engine.transcript)
    assert [(m.sender, m.receiver, m.payload) for m in passed] == [
        (AGGREGATOR, "a", b"a"), (AGGREGATOR, "b", b"b"),
        ("a", AGGREGATOR, b"a"), ("b", AGGREGATOR, b"b"),
    ]  # fmt: skip
    assert [m.sequence for m in passed] == [0, 1, 2, 3]
    assert passed[2:] == aggregator.told[1:]
    assert passed == seen
    assert engine.seconds.keys() == {AGGREGATOR, "a", "b"} and min(engine.seconds.values()) > 0


def test_delays_put_messages_and_timers_in_order_of_time() -> None:
    def server(incoming: Message | Timer) -> Said:
        if isinstance(incoming, Timer) and incoming.kind is TimerKind.START:
            late = SetTimer(Timer(TimerKind.PATIENCE, time=9.0))
            return (late, *(say(AGGREGATOR, n, MessageKind.MODEL) for n in ("a", "b")))
        return ()

    def client(incoming: Message | Timer) -> Said:
        assert isinstance(incoming, Message)
        return (say(incoming.receiver, AGGREGATOR, MessageKind.UPDATE),)

    def delays(message: Message, now: tuple[int, float]) -> tuple[int, float]:
        return now[0], now[1] + {"a": 4.0, "b": 1.0}.get(message.sender, 0.0)

    aggregator = Scripted(server)
    roles = {AGGREGATOR: aggregator, "a": Scripted(client), "b": Scripted(client)}
    engine = InProcess(roles, delays=delays)
    engine.run()
    assert [(m.sender, m.time) for m in engine.transcript.select(kind="update")] == [
        ("b", 1.0),
        ("a", 4.0),
    ]
    assert isinstance(aggregator.told[-1], Timer) and aggregator.told[-1].time == 9.0


def test_a_message_to_nobody_is_refused() -> None:
    engine = InProcess(
        {AGGREGATOR: Scripted(lambda _: (say(AGGREGATOR, "nowhere", MessageKind.MODEL),))}
    )
    with pytest.raises(RefusedError, match="nowhere"):
        engine.run()
