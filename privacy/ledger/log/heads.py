"""A hospital's signed word on how long its ledger is and what it holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from privacy.ledger.forms import Form, hexadecimal, listed, name, ruled, whole
from privacy.ledger.log.canonical import encode
from privacy.ledger.log.keys import SigningKey, verifies
from privacy.ledger.log.merkle import consistency, consistent

__all__ = ["Extension", "Head"]

_DOMAIN = b"inpatient ledger head 1\x00"
_MOST_STEPS = 64  # twice the height of the largest tree


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


@dataclass(frozen=True)
class Extension(Form):
    """Why a head is the same ledger as before, grown: what it extends, and the proof.

    Attributes:
      size: Lines of the ledger before.
      root: Merkle root of these, in hex.
      proof: Consistency proof (RFC 6962, section 2.1.2) from there to the head, in hex.
    """

    size: int = ruled(whole(1, 2**32))
    root: str = ruled(hexadecimal(64))
    proof: tuple[str, ...] = ruled(listed(hexadecimal(64), least=0, most=_MOST_STEPS))

    @classmethod
    def of(cls, leaves: Sequence[bytes], size: int, root: str) -> "Extension":
        """Prove that a ledger with these leaf hashes extends one of ``size`` lines.

        Raises:
          InvalidInputError: It has fewer lines.
        """
        return cls(size, root, tuple(step.hex() for step in consistency(leaves, size)))

    def leads_to(self, head: Head) -> bool:
        """Whether the proof holds: the head's ledger begins with the lines from before."""
        steps = [bytes.fromhex(step) for step in self.proof]
        old, new = bytes.fromhex(self.root), bytes.fromhex(head.root)
        return consistent(self.size, old, head.size, new, steps)


def _note(hospital: str, ledger: str, size: int, root: str) -> bytes:
    return encode({"hospital": hospital, "ledger": ledger, "root": root, "size": size})
