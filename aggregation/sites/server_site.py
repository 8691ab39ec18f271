"""The aggregator's site: what passed it is on its disk, and it can open nothing."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from aggregation.data.tables import read_table
from aggregation.engines.carried import Carried
from aggregation.models import TorchModel
from aggregation.roles.aggregator import Aggregator
from aggregation.roles.messages import (
    AGGREGATOR,
    Message,
    MessageKind,
    SetTimer,
    Timer,
    TimerKind,
)
from aggregation.roles.opening import ByHolders, ByOpener, OpeningRequest
from aggregation.sites.agreed import Agreed
from aggregation.sites.closing import head_name
from aggregation.sites.declared_order import DeclaredOrder
from aggregation.sites.model_process import ModelApart, ModelProcess, installed_file
from aggregation.sites.rows import ReceivedRows, read_row
from aggregation.sites.site import Reply, Site, TableReader
from aggregation.sites.site_settings import Part, SiteSettings
from aggregation.timing.schedule import Schedule
from privacy._foreign import parse_json
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.ledger.log.heads import Head

__all__ = ["ServerSite", "open_site"]


class ServerSite(Site):
    """The aggregator of a run.

    Guarantees (each is a test in ``tests/aggregation/sites/test_site.py``):
      - a message under a hospital's name comes with that hospital's signed row, or is refused
        before the role sees it;
      - a sum is durable before anybody is told of it, with the rows that it is made of;
      - what was refused is not kept, so that it can't stand in the way of a restart;
      - along a schedule it follows the declared order (``DeclaredOrder``).
    """

    def _take_up(self) -> None:
        agreed = self.agreed
        judge = agreed.judge()
        opening: OpeningRequest = ByOpener(judge) if judge.scheme is None else ByHolders(judge)
        self._aggregator = Aggregator(
            agreed.plan, agreed.load_adder(), agreed.members.roster, opening, agreed.agreement
        )
        self._openers = judge.addresses
        self._carried = Carried(self.folder / "passed")
        self._closing.append(self._carried.close)
        self._received = ReceivedRows(
            self.folder / "received", agreed.plan.run, self._key(AGGREGATOR), AGGREGATOR
        )
        self._closing.append(self._received.close)
        # The run's own time in seconds: it neither jumps with the machine's clock nor goes back at
        # a restart.
        _, self._begin = self._carried.take_up(self._aggregator)
        self._started = time.monotonic()
        timing = agreed.agreement.timing
        self._order = DeclaredOrder(timing) if isinstance(timing, Schedule) else None
        self._timers: list[Timer] = []
        self._heads: dict[str, str] = {}  # whose head it is, by what signatures name it by
        self._signed: set[tuple[str, str]] = set()
        self._closing.append(self._save)
        self._roles[AGGREGATOR] = self._aggregator

    @property
    def listens_to(self) -> tuple[str, ...]:
        """Hospitals, and whoever opens."""
        return (*self.agreed.plan.hospitals, *self._openers)

    def wake(self) -> Reply:
        """Say the plan, the last sum and the models again, or ask for the open sum again."""
        if self._order is not None:
            self._order.clear()
        self._timers = []
        behind = self._say(tuple(self._missed()))
        woken = self._aggregator.handle(Timer(TimerKind.START, time=self._now))
        return self._replied((*behind, *self._say(woken), *self._released()))

    def _missed(self) -> Iterator[Message]:
        """All sums but the last that a hospital may not know, for who was away during several.

        The role says the last sum alone; who has sent an upload knows all before its model.
        """
        run, sums = self.agreed.plan.run, self._carried.told()
        for name in self.agreed.plan.hospitals:
            sent = self._carried.transcript.select(kind=MessageKind.UPDATE, sender=name)
            latest_round = max((update.round for update in sent), default=0)
            for number in range(latest_round, len(sums) - 1):
                kinds = (MessageKind.EVIDENCE, MessageKind.OPENED)
                for kind, content in zip(kinds, sums[number], strict=True):
                    yield Message(AGGREGATOR, name, kind, number, content, run=run)

    def due(self) -> Reply:
        """Go on without those who have not answered in time."""
        now, said = self._now, list[Message]()
        ready = [timer for timer in self._timers if timer.time <= now]
        self._timers = [timer for timer in self._timers if timer.time > now]
        for timer in ready:
            said += self._say(self._aggregator.handle(replace(timer, time=now)))
        return self._replied((*said, *self._released()))

    @property
    def ended(self) -> bool:
        """Whether the last sum was opened."""
        return not self._aggregator.waits

    @property
    def _now(self) -> float:
        return self._begin + time.monotonic() - self._started

    def _state(self) -> dict[str, Any]:
        server = self._aggregator
        return {"ended": self.ended, "round": server.round, "late": list(server.late)}

    def _handle(self, message: Message, row: bytes) -> tuple[Message, ...]:
        members, signed = self.agreed.members.hospitals, None
        if message.sender in members:
            signed = read_row(row)
            self._received.check(signed, message, members[message.sender])
        said: tuple[Message, ...] = ()
        if message.kind in (MessageKind.CHECKPOINT, MessageKind.COUNTERSIGNED):
            said = self._relayed(message)
        elif self._order is None or not self._order.holds_update(message, self._aggregator.round):
            said = self._taken(message)
        if signed is not None:
            self._received.add(signed)
        return (*said, *self._released())

    def _relayed(self, message: Message) -> tuple[Message, ...]:
        """Pass a ledger's head on to all other hospitals, or a signature to whose head it is of.

        Nothing of it concerns the server; it believes neither.
        """
        if not self.ended:
            raise RefusedError("A ledger is closed when the last sum was opened, and no earlier.")
        receivers: tuple[str, ...] = ()
        if message.kind is MessageKind.CHECKPOINT:
            hospitals = self.agreed.plan.hospitals
            receivers = tuple(name for name in hospitals if name != message.sender)
            self._heads[_named(message)] = message.sender
        elif message.nonce in self._heads:
            receivers = (self._heads[message.nonce],)
            self._signed.add((message.sender, *receivers))
        self._carry(replace(message, time=self._now))
        return self._say(
            tuple(replace(message, sender=AGGREGATOR, receiver=name) for name in receivers)
        )

    def _taken(self, message: Message) -> tuple[Message, ...]:
        message = replace(message, time=self._now)
        said = self._aggregator.handle(message)
        self._carry(message)  # only now: what is refused would be read again at every restart
        return self._say(said)

    def _released(self) -> tuple[Message, ...]:
        """Let go what was held back and is due by now."""
        said = list[Message]()
        while self._order is not None:
            for model in self._order.models_due(self._aggregator.round):
                said += self._say((model,))
            update = next(self._order.updates_due(self._aggregator.round), None)
            if update is None:
                break
            said += self._taken(update)
        return tuple(said)

    def _say(self, said: tuple[Message | SetTimer, ...]) -> tuple[Message, ...]:
        """Write down what leaves; keep the timers, but those that a schedule sets: its order rules.

        A schedule's time for a model is the simulated one; between machines it is the version.
        """
        out = list[Message]()
        for one in said:
            if isinstance(one, SetTimer):
                if one.timer.kind is TimerKind.MODEL:
                    out += self._say(self._aggregator.handle(one.timer))
                else:
                    self._timers.append(one.timer)
                continue
            if self._order is not None and self._order.holds_model(one, self._aggregator.round):
                continue
            if one.kind is MessageKind.OPENED:
                self._received.sync()
            self._carry(one)
            out.append(one)
        return tuple(out)

    def _carry(self, message: Message) -> None:
        self._carried.add(self._carried.transcript.carry(message, time=self._now))

    def _end(self) -> None:
        count = len(self.agreed.plan.hospitals)
        if self._saved < 0 or len(self._signed) == count * (count - 1):
            self._save()

    def _save(self) -> None:
        """Write down what is left of the run, unless it is as it was written."""
        if self.ended and self._saved != self._received.count:
            self._carried.transcript.save(self.folder / "transcript")
            self._received.manifest().save(self.folder / "manifest.json")
            self._saved = self._received.count


def _named(message: Message) -> str:
    """What signatures name the head in a checkpoint by; empty if there is none in it."""
    try:
        parsed = parse_json(str(message.public.get("head")).encode(), what="A head")
        return head_name(Head.from_json(parsed))
    except (CorruptMessageError, InvalidInputError):
        return ""


def open_site(
    folder: Path,
    reader: TableReader = read_table,
    say: Callable[..., None] = lambda *_, **__: None,
) -> Site:
    """Take up the site of a folder, whose table ``reader`` reads.

    A torch model is run by a process of its own (``ModelProcess``), of which ``say`` is told.

    Raises:
      InvalidInputError: A file of the site can't be read.
      CorruptMessageError: A file is not what was written.
      RefusedError: Another process has the site, or its files don't belong together; the model's
        file is not the plan's.
    """
    settings = SiteSettings.load(folder)
    agreed = Agreed.load(folder / settings.agreed)
    kind = ServerSite if Part.AGGREGATOR in settings.roles else Site
    model = agreed.plan.model
    if not isinstance(model, TorchModel) or not settings.follows_models:
        return kind(folder, settings, agreed, reader)
    runs = ModelProcess(
        model,
        installed_file(model, folder / settings.module if settings.module else None),
        seconds=settings.module_seconds,
        unconfined=settings.module_unconfined,
        say=say,
    )
    plan = replace(agreed.plan, model=ModelApart.run_by(model, runs))
    try:
        site = kind(folder, settings, replace(agreed, plan=plan), reader)
    except BaseException:
        runs.close()
        raise
    if not settings.is_hospital:
        runs.close()  # the first parameters are all that it needs
    site.ends_with(runs.close)
    return site
