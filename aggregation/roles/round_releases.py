"""The releases of one plan: spent, made once, kept, and sent again as they were.

    spend, durable -> compute -> folder: the rule's state, the message -> ledger: bytes, entries

The last two are written together, and nothing leaves before all of it is durable.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aggregation.roles.kept import Kept, read_state, write_state
from aggregation.roles.messages import Message
from aggregation.rules.rule import State
from aggregation.sealing import Contribution
from privacy.errors import RefusedError
from privacy.ledger import Ledger, Release
from privacy.ledger.log import canonical
from privacy.ledger.log.entries import Entry
from privacy.ledger.log.merkle import root

__all__ = ["RoundReleases"]


class RoundReleases:
    """The releases of one plan in a ledger, by round: each is made once, whoever asks again.

    Guarantees (each is a test in ``tests/aggregation/roles/test_restart.py``):
      - a spend whose bytes were lost is completed once, under the same entry; lost again, or with
        nothing kept beside the ledger, it is forfeited, and nothing is refunded;
      - what may have left is sent again as the same bytes.

    Attributes:
      said: The last update that may have left, as it was sent; None: none has.

    Args:
      ledger: The hospital's.
      plan: Digest of the plan.
      kept: What lies beside the ledger; None: nothing does.
      stateful: Whether the rule keeps something at the hospital from update to update.
    """

    def __init__(
        self, ledger: Ledger, plan: str, kept: Kept | None = None, *, stateful: bool = False
    ) -> None:
        self.said: Message | None = None
        self._ledger = ledger
        self._plan = plan
        self._kept = kept
        self._stateful = stateful
        self._entries: dict[int, dict[str, Entry]] = {}
        self._sealed: dict[str, str] = {}  # by the digest of the release's entry
        self._seen = 0
        self._unsent: Message | None = None
        self._look()
        if kept is not None and (update := kept.get("update")) is not None:
            said = Message.from_bytes(update, largest=len(update))
            self.said, self._unsent = (said, None) if self._left(said) else (None, said)

    @property
    def last(self) -> int:
        """The last round that something was spent in; -1: nothing was."""
        return max(self._entries, default=-1)

    def spend(self, releases: Sequence[Release]) -> list[Entry]:
        """Return the entries of a round's releases; what is missing is spent now.

        Raises:
          RefusedError: As ``Ledger.spend``, or another process has spent for this round.
          BudgetExceededError: As ``Ledger.spend``.
        """
        made = []
        with self._ledger.together():  # one wait for the disk, before any patient is read
            for release in releases:
                ours = release.kind in self._entries.get(release.round, {})
                if self._ledger.size != self._seen:
                    self._look()
                entry = self._entries.get(release.round, {}).get(release.kind)
                if entry is not None and not ours:
                    raise RefusedError(
                        f"Entry {entry.sequence} of {self._ledger.hospital}'s ledger is the "
                        f"{release.kind} of round {release.round} already: another process made "
                        "it. Nothing is released for it here."
                    )
                made.append(entry or self._ledger.spend(release))
                self._seen = self._ledger.size
        # Only now: what the disk refused is not to be taken for spent when it is asked for again.
        for release, entry in zip(releases, made, strict=True):
            self._entries.setdefault(release.round, {})[release.kind] = entry
        return made

    def keep(
        self,
        entries: Sequence[Entry],
        sealed: bytes,
        *,
        state: State | None,
        sign: Callable[[], Message],
    ) -> Message:
        """Keep a round's update with all that it takes to send it again, durably; return it.

        Args:
          entries: Of the round's releases.
          sealed: What they became.
          state: The rule's, once the update is opened.
          sign: Makes the message, when the ledger's head has the bytes in it.

        Raises:
          RefusedError: The disk refuses: nothing may leave.
        """
        with self._ledger.together():
            for entry in entries:
                self._ledger.attach(entry, sealed)
            said = sign()
            if self._kept is not None:
                # The folder waits for the disk first, the ledger (bytes, then entries) at the end
                # of ``together``. A crash between the two finds an update here whose head is not
                # the ledger's: it has not left (``_left``), and is signed anew over these very
                # bytes. In the other order the ledger could have bytes whose rule's state is lost.
                begun = write_state(said.round, state or ())
                self._kept.put({"begun": begun, "update": said.to_bytes()})
            self._seen = self._ledger.size
        for entry in entries:
            self._sealed[entry.digest] = canonical.digest(sealed)
        self.said, self._unsent = said, None
        return said

    def sealed(self, round_: int) -> str | None:
        """Return the digest of what a round's releases became; None: nothing yet."""
        digests = [self._sealed.get(e.digest) for e in self._entries.get(round_, {}).values()]
        return next((digest for digest in digests if digest is not None), None)

    def payload(self, round_: int) -> bytes | None:
        """Return the bytes that a round's releases became; None: none were kept."""
        for entry in self._entries.get(round_, {}).values():
            if (payload := self._ledger.payload(entry)) is not None:
                return payload
        unsent = self._unsent
        return None if unsent is None or unsent.round != round_ else unsent.payload

    def begun(self, round_: int) -> State:
        """Return the rule's state with an update whose bytes are kept.

        Raises:
          RefusedError: The rule keeps something, and it is lost.
        """
        content = None if self._kept is None else self._kept.get("begun")
        if content is not None:
            of, state = read_state(content)
            if of == round_:
                return state
        if self._stateful:
            raise RefusedError(
                f"The update of {self._ledger.hospital} for round {round_} was sealed, and what "
                "its rule keeps beside it is lost. The spend is forfeited; nothing is refunded."
            )
        return ()

    def begin(self, round_: int) -> None:
        """Refuse to complete a spend whose bytes were lost a second time, or with nothing kept.

        Raises:
          RefusedError: It is forfeited.
        """
        if round_ not in self._entries:
            return
        mark = str(round_).encode()
        if self._kept is None or self._kept.get("again") == mark:
            raise RefusedError(
                f"{self._ledger.hospital} has spent for round {round_}, and its bytes were lost "
                f"{'twice' if self._kept else 'with nothing kept beside the ledger'}. The spend is "
                "forfeited; nothing is refunded, and nothing else is released for it."
            )
        self._kept.put({"again": mark})

    def _left(self, said: Message) -> bool:
        """Whether an update that lies in the folder may have left: not if its head never was."""
        head = Contribution.from_message(said.payload, said.public).head
        if head is None or said.round not in self._entries:
            return True  # the ledger is older than the folder: whoever restored it may have sent
        leaves = self._ledger.leaves()[: head.size]
        return head.ledger == self._ledger.identity and root(leaves).hex() == head.root

    def _look(self) -> None:
        for entry in self._ledger.entries():
            self._seen = entry.sequence + 1
            content: Mapping[str, Any] = entry.content
            if entry.kind == "sealed":
                self._sealed[content["entry"]] = content["digest"]
            elif entry.kind == "release" and self._plan == content["plan"]:
                of_round = self._entries.setdefault(content["round"], {})
                of_round.setdefault(content["kind"], entry)
