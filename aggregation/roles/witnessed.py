"""A hospital's ledger in the eyes of others: what they saw of it, and when it may release again.

A ledger that was found on a disk may be an old copy of itself: a restored backup, a machine's
snapshot. It can't tell alone; and what it has released since would be released a second time. So
it asks whoever opens sums for the newest head that they saw of it in an opened sum, with a number
that was drawn for this question. As many as open a sum have to answer; so one who is honest, and
saw the last opening, is among them. If it is behind one of their heads, it releases nothing.

What was in no opened sum was seen by nobody: that may be taken back unseen.
"""

import secrets

from aggregation.roles.evidence import Judge
from aggregation.roles.messages import Message
from aggregation.sealing import Contribution
from aggregation.sealing.answers import Question, Witnessed
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger import Head, Ledger
from privacy.ledger.log.heads import Extension
from privacy.ledger.log.merkle import root

__all__ = ["WitnessedLedger"]


class WitnessedLedger:
    """What others have seen of one hospital's ledger.

    Guarantees (each is a test in ``tests/aggregation/roles/test_witnessed.py``):
      - a ledger that was found on a disk releases nothing before as many as open a sum have signed
        the newest head that they saw of it, for this very question;
      - one signed head that it does not extend shuts it for good, whoever shows it; a head that
        its own key did not sign shuts nothing, and does not count;
      - what it sends proves that its head extends the last one that was in an opened sum.

    Args:
      ledger: The hospital's own.
      judge: Knows who opens, and under which keys.

    Attributes:
      open: Whether it may release.
    """

    def __init__(self, ledger: Ledger, judge: Judge) -> None:
        self._ledger = ledger
        self._run = judge.run
        self._keys, self._needed = judge.witnesses
        self._words: set[str] = set()
        self._nonce = secrets.token_hex(16)
        self._behind: tuple[str, Head] | None = None
        self.open = not (ledger.durable and ledger.taken_up)
        self._seen: tuple[int, str] | None = None
        if ledger.countersigned is not None:
            self._note(ledger.countersigned.size, ledger.countersigned.root)

    def question(self) -> Question:
        """Return what is asked of whoever opens.

        Raises:
          RefusedError: As ``require_open``, where it is known already that it is an old copy.
        """
        if self._behind is not None:
            self.require_open()
        return Question(self._ledger.hospital, self._nonce)

    def require_open(self) -> None:
        """Refuse to release from a ledger that may be an old copy of itself.

        Raises:
          RefusedError: It is one, or too few have answered yet.
        """
        if self._behind is not None:
            witness, head = self._behind
            raise RefusedError(
                f"The ledger of {self._ledger.hospital} has {self._ledger.size} entries and does "
                f"not extend its own signed head of {head.size} entries that {witness} saw in an "
                "opened sum: it is an old copy, restored from a backup, say. Nothing is released "
                "from it. Restore the newest copy; if there is none, its budget counts as spent."
            )
        if not self.open:
            raise RefusedError(
                f"The ledger of {self._ledger.hospital} was found on a disk and may be an old "
                f"copy: {len(self._words)} of the {self._needed} that have to have said which head "
                "they saw last. Nothing is released before; have the server ask them."
            )

    def take(self, payload: bytes) -> None:
        """Take the word of one who opens.

        Raises:
          CorruptMessageError: It is not theirs, not for this question, or shows a head that this
            hospital did not sign; it does not count.
          RefusedError: As ``require_open``, where the ledger does not extend the head.
        """
        word = Witnessed.from_bytes(payload)
        ledger, key = self._ledger, self._keys.get(word.holder, "")
        question = (self._run, ledger.hospital, self._nonce)
        if (word.run, word.hospital, word.nonce) != question or not word.verifies(key):
            raise CorruptMessageError(
                f"What came as {word.holder!r}'s word on the ledger of {ledger.hospital} is not "
                "its signed answer to this question: it is old, changed, or somebody else's."
            )
        if word.head is not None:
            self._compare(word.holder, word.head)
        self._words.add(word.holder)
        self.open = self._behind is None and len(self._words) >= self._needed
        if self._behind is not None:
            self.require_open()

    def _compare(self, witness: str, head: Head) -> None:
        ledger = self._ledger
        if head.hospital != ledger.hospital or not head.signed_by(ledger.key.public):
            raise CorruptMessageError(
                f"{witness!r} shows a head of the ledger of {ledger.hospital} that was not signed "
                "with this hospital's key; it does not count."
            )
        leaves = ledger.leaves()[: head.size]
        if head.ledger != ledger.identity or root(leaves).hex() != head.root:
            self._behind = witness, head
        else:
            self._note(head.size, head.root)

    def extension(self, head: Head) -> Extension | None:
        """Return the proof that a head extends the last one that was seen; None: none was."""
        if self._seen is None:
            return None
        return Extension.of(self._ledger.leaves()[: head.size], *self._seen)

    def opened(self, upload: Message) -> None:
        """Take note that an upload is in an opened sum: its head was seen."""
        head = Contribution.from_message(upload.payload, upload.public).head
        if head is not None:
            self._note(head.size, head.root)

    def outstanding(self, upload: Message) -> None:
        """Take note of what an upload that is not opened yet extends, after a restart."""
        since = Contribution.from_message(upload.payload, upload.public).extends
        if since is not None:
            self._note(since.size, since.root)

    def _note(self, size: int, root_: str) -> None:
        if self._seen is None or size > self._seen[0]:
            self._seen = size, root_
