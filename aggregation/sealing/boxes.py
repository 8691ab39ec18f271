"""Boxes that one holder alone can open: keys agreed by X25519, content under ChaCha20-Poly1305."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from privacy.errors import CorruptMessageError

__all__ = ["OVERHEAD", "box_cipher", "open_box", "seal_box"]

_KEY = 32
OVERHEAD = _KEY + 16
"""Bytes of a box beside its content: the sender's key for this box alone, and the tag."""


def box_cipher(
    shared: bytes, sender: bytes, receiver: bytes, *, use: bytes, salt: bytes = b""
) -> ChaCha20Poly1305:
    """Make the cipher of one box; its key is fresh, so that its nonce may be constant.

    Args:
      shared: What both have agreed on.
      sender: The sender's public key.
      receiver: The receiver's.
      use: What the box is for: a key of one use is none of another.
      salt: New for each box under one agreement.
    """
    return ChaCha20Poly1305(HKDF(SHA256(), _KEY, salt, use + sender + receiver).derive(shared))


def seal_box(content: bytes, receiver: str, *, use: bytes, bound: bytes) -> bytes:
    """Seal a content to a holder's public key (hex), under a key that is used once.

    Args:
      content: What the receiver alone shall read.
      receiver: Its X25519 key.
      use: As for ``box_cipher``.
      bound: What the box belongs to: it does not open anywhere else.

    Raises:
      CorruptMessageError: The receiver's key is none.
    """
    once, theirs = X25519PrivateKey.generate(), bytes.fromhex(receiver)
    try:
        shared = once.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError as error:  # a point of low order: the agreement would be known to all
        raise CorruptMessageError(f"{receiver} is no key that can be sealed to.") from error
    sender = once.public_key().public_bytes_raw()
    return sender + box_cipher(shared, sender, theirs, use=use).encrypt(bytes(12), content, bound)


def open_box(box: bytes, private: bytes, *, use: bytes, bound: bytes) -> bytes:
    """Open what ``seal_box`` made, with the receiver's private key.

    Raises:
      CorruptMessageError: It was made for another, for something else, or changed on the way.
    """
    ours, sender = X25519PrivateKey.from_private_bytes(private), box[:_KEY]
    try:
        shared = ours.exchange(X25519PublicKey.from_public_bytes(sender))
        cipher = box_cipher(shared, sender, ours.public_key().public_bytes_raw(), use=use)
        return cipher.decrypt(bytes(12), box[_KEY:], bound)
    except (InvalidTag, ValueError) as error:
        raise CorruptMessageError("The box does not open.") from error
