"""A hospital's signed word on how long its ledger is and what it holds."""

from dataclasses import dataclass

from privacy.ledger.forms import Form, hexadecimal, name, ruled, whole
from privacy.ledger.log.canonical import encode
from privacy.ledger.log.keys import SigningKey, verifies

__all__ = ["Head"]

_DOMAIN = b"inpatient ledger head 1\x00"


@dataclass(frozen=True)
class Head(Form):
    """A signed head; ``signed_by`` tells whether the signature holds, and nothing else does.

    Attributes:
      hospital: Who keeps the ledger.
      ledger: The ledger's identity: digest of its first line.
      size: Number of lines.
      root: RFC 6962 Merkle root of these lines, in hex.
      signature: The hospital's, over the four others.
    """

    hospital: str = ruled(name())
    ledger: str = ruled(hexadecimal(64))
    size: int = ruled(whole(1, 2**32))
    root: str = ruled(hexadecimal(64))
    signature: str = ruled(hexadecimal(128))

    @classmethod
    def sign(cls, key: SigningKey, hospital: str, ledger: str, size: int, root: str) -> "Head":
        """Sign a head."""
        note = _note(hospital, ledger, size, root)
        return cls(hospital, ledger, size, root, key.sign(_DOMAIN + note))

    @property
    def note(self) -> bytes:
        """The canonical bytes that are signed, and counter-signed."""
        return _note(self.hospital, self.ledger, self.size, self.root)

    def signed_by(self, public: str) -> bool:
        """Whether the signature is that key's."""
        return verifies(public, self.signature, _DOMAIN + self.note)


def _note(hospital: str, ledger: str, size: int, root: str) -> bytes:
    return encode({"hospital": hospital, "ledger": ledger, "root": root, "size": size})
