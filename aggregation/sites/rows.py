"""The manifest's rows between machines: signed by who sends, kept by who sends and who receives."""

from dataclasses import replace
from pathlib import Path

from aggregation.roles.journal import Journal
from aggregation.roles.messages import Message
from privacy._foreign import parse_json
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger import Manifest, SigningKey
from privacy.ledger.audit.manifest import Outbound, Receipt, Sent
from privacy.ledger.log import canonical

__all__ = ["ReceivedRows", "SentRows", "read_row"]

_LARGEST = 1 << 20  # bytes of a row


def read_row(content: bytes) -> Outbound:
    """Read a row as it travels beside its message: canonical JSON.

    Raises:
      CorruptMessageError: Something else.
    """
    try:
        return Outbound.from_json(parse_json(content, what="A row", most=_LARGEST))
    except InvalidInputError as error:
        raise CorruptMessageError(f"What came beside a message is no row: {error}") from error


class SentRows:
    """What left a hospital, row by row, each durable before its message leaves.

    Guarantees (each is a test in ``tests/aggregation/sites/test_sent_rows.py``):
      - a message that is sent again, also after a restart, has the same row, byte for byte;
      - rows are numbered in the order in which they were made.

    Args:
      path: The file; made if it is not there.
      run: Name of the run.
      key: The hospital's.
    """

    def __init__(self, path: Path, run: str, key: SigningKey) -> None:
        self._run, self._key = run, key
        self._journal = Journal(path)
        self._rows: dict[str, Outbound] = {}  # by what they say of a message
        for _, record in self._journal.records():
            row = read_row(record)
            self._rows[_said(row)] = row

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def close(self) -> None:
        """Let another process have the file."""
        self._journal.close()

    def row(self, message: Message) -> Outbound:
        """Return the signed row of a message that leaves now; it is durable.

        Raises:
          RefusedError: The disk refuses; the message must not leave.
        """
        row = Outbound.of(replace(message, sequence=len(self._rows)))
        earlier_row = self._rows.get(_said(row))
        if earlier_row is not None:
            return earlier_row
        row = row.signed(self._run, self._key)
        self._journal.append(canonical.encode(row.to_json()))
        self._rows[_said(row)] = row
        return row

    def manifest(self, hospital: str) -> Manifest:
        """Return all rows, with the hospital's word that there are no others."""
        rows = tuple(self._rows.values())
        return Manifest(self._run, rows, (Sent.sign(self._run, hospital, rows, self._key),))


class ReceivedRows:
    """What arrived from hospitals, as each of them signed it.

    Guarantees (each is a test in ``tests/aggregation/sites/test_sent_rows.py``):
      - a row that its hospital did not sign, or that tells of another message, is refused;
      - each row is there once, in the order of arrival, and found again after a restart.

    Args:
      path: The file; made if it is not there.
      run: Name of the run.
      key: The receiver's.
      receiver: Its address.
    """

    def __init__(self, path: Path, run: str, key: SigningKey, receiver: str) -> None:
        self._run, self._key, self._receiver = run, key, receiver
        self._journal = Journal(path)
        rows = [read_row(record) for _, record in self._journal.records()]
        self._rows = {row.name: row for row in rows}

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def close(self) -> None:
        """Let another process have the file."""
        self._journal.close()

    def check(self, row: Outbound, message: Message, public_key: str) -> None:
        """Refuse a row that is not its sender's word on this very message.

        Raises:
          CorruptMessageError: It is not.
        """
        expected = _said(Outbound.of(replace(message, sequence=row.sequence)))
        if _said(row) != expected or not row.signed_by(self._run, public_key):
            raise CorruptMessageError(
                f"A {message.kind.value!r} came under the name of {message.sender!r} without its "
                "signed word on these very bytes: somebody else sent it, or changed it."
            )

    def add(self, row: Outbound) -> None:
        """Keep a row; it is durable after ``sync``."""
        if row.name not in self._rows:
            self._journal.append(canonical.encode(row.to_json()), durable=False)
            self._rows[row.name] = row

    def sync(self) -> None:
        """Wait for the disk.

        Raises:
          RefusedError: It refuses.
        """
        self._journal.sync()

    def manifest(self) -> Manifest:
        """Return what arrived, with the receiver's word on it."""
        rows = tuple(self._rows.values())
        receipt = Receipt.sign(self._run, self._receiver, rows, self._key)
        return Manifest(self._run, rows, (), (receipt,))


def _said(row: Outbound) -> str:
    """What a row says of its message, wherever it stands: the digest of the rest of it."""
    return replace(row, sequence=0, signature=None).name
