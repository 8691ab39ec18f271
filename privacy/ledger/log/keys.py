"""Ed25519 keys: who wrote an entry, and who counter-signed it.

A private key lives in one file that its owner alone can read; it never enters a ledger, a log or
a record. Public keys travel as 64 hex digits, apart from the ledgers that they verify.

>>> key = SigningKey.generate()
>>> verifies(key.public, key.sign(b"entry"), b"entry")
True
>>> verifies(key.public, key.sign(b"entry"), b"Entry")
False
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy._foreign import parse_json, quoted, read_file
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.files import create_durably, read_regular, write_durably

__all__ = ["SigningKey", "Trust", "is_public_key", "load_trust", "save_trust", "verifies"]

_LARGEST = 2**22  # bytes of a file of keys
_LONGEST_NAME = 64
_PUBLIC = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_FIELD = 2**255 - 19
# Heights y of the eight points of small order (RFC 7748, section 7, warns of them): under such a
# "public key" a signature that anybody can make holds for many messages, or for every one.
_EIGHTH = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER = frozenset({0, 1, _FIELD - 1, _EIGHTH, _FIELD - _EIGHTH})


class SigningKey:
    """A private Ed25519 key.

    Guarantees (each is a test in ``tests/privacy/ledger/test_keys.py``):
      - ``create`` makes a file that its owner alone can read, and never overwrites one;
      - ``load`` refuses a file that others can read;
      - neither ``repr`` nor an error message shows the key.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public: str = private.public_key().public_bytes_raw().hex()

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public!r})"

    def __reduce__(self) -> Any:
        raise InvalidInputError("A signing key is not pickled; pass the path of its file instead.")

    @classmethod
    def generate(cls) -> "SigningKey":
        """Make a key that lives in memory only."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def create(cls, path: Path) -> "SigningKey":
        """Make a key and its file (PKCS #8 PEM, mode 0600).

        Raises:
          InvalidInputError: The file exists already, or its folder can't be written.
        """
        key = cls.generate()
        pem = key._private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_durably(path, pem, mode=0o600)
        except OSError as error:
            raise InvalidInputError(
                f"No key was made at {path}: {error.strerror}. Choose a new file in a folder that "
                "you may write; an existing key is never overwritten."
            ) from error
        return key

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """Read a key's file.

        Raises:
          InvalidInputError: Missing, readable by others, or not an Ed25519 key.
        """
        try:
            content = read_regular(path, largest=_LARGEST, secret=True)
        except PermissionError as error:
            raise InvalidInputError(
                f"The signing key {path} can't be used: {error.strerror}. If nobody else has read "
                f"it, run chmod 600 {path}; otherwise enrol a new key."
            ) from error
        except OSError as error:
            raise InvalidInputError(
                f"The signing key {path} can't be read: {error.strerror}. Without it the "
                "hospital's ledger can be verified but not extended."
            ) from error
        try:
            private = serialization.load_pem_private_key(content, password=None)
        except (ValueError, TypeError) as error:
            raise InvalidInputError(f"{path} holds no unencrypted PEM private key.") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise InvalidInputError(f"{path} holds a key of another kind; expected Ed25519.")
        return cls(private)

    def sign(self, message: bytes) -> str:
        """Return the signature as 128 hex digits."""
        return self._private.sign(message).hex()


def verifies(public: str, signature: str, message: bytes) -> bool:
    """Whether the signature is this key's over this message; malformed ones are not."""
    if not is_public_key(public) or not _SIGNATURE.fullmatch(signature):
        return False
    try:
        _public_key(public).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):  # the latter: 32 bytes that are no point of the curve
        return False
    return True


def is_public_key(public: object) -> bool:
    """Whether it is 64 hex digits of a height below the field's size, of a point of large order.

    It may still be no point of the curve: then nothing verifies under it.
    """
    if not isinstance(public, str) or not _PUBLIC.fullmatch(public):
        return False
    height = int.from_bytes(bytes.fromhex(public), "little") & ~(1 << 255)
    return height < _FIELD and height not in _SMALL_ORDER


class Trust(dict[str, str]):
    """Public keys of hospitals by name, obtained apart from the files that they verify.

    Attributes:
      receivers: Keys of the other parties that sign for what they got: the aggregator, say.
    """

    def __init__(
        self, hospitals: Mapping[str, str], receivers: Mapping[str, str] | None = None
    ) -> None:
        for name, public in [*hospitals.items(), *(receivers or {}).items()]:
            _check_public(name, public)
        super().__init__(hospitals)
        self.receivers = dict(receivers or {})
        if both := sorted(set(self) & set(self.receivers)):
            raise InvalidInputError(f"{quoted(both[0])} is a hospital and a receiver at once.")


def save_trust(
    path: Path, keys: Mapping[str, str], receivers: Mapping[str, str] | None = None
) -> None:
    """Write public keys by name, to be handed to auditors apart from the ledgers.

    Raises:
      InvalidInputError: A key is none, or the disk refuses.
    """
    trust = Trust(keys, receivers)
    content = {"version": 1, "keys": dict(trust), "receivers": trust.receivers}
    text = json.dumps(content, indent=2, ensure_ascii=False)
    try:
        write_durably(path, text.encode() + b"\n")
    except OSError as error:
        raise InvalidInputError(f"{path} can't be written: {error.strerror}.") from error


def load_trust(path: Path) -> Trust:
    """Read public keys by name.

    Raises:
      InvalidInputError: Missing, or not what ``save_trust`` writes.
    """
    form = '{"version": 1, "keys": {"hospital": "64 hex digits"}, "receivers": {}}'
    what = "The file of trusted keys"
    try:
        content = parse_json(read_file(path, most=_LARGEST, what=what), what=what)
    except CorruptMessageError as error:
        raise InvalidInputError(f"{error} Expected the form {form}.") from error
    if (
        not isinstance(content, dict)
        or not {"version", "keys"} <= set(content) <= {"version", "keys", "receivers"}
        or not all(isinstance(content.get(n, {}), dict) for n in ("keys", "receivers"))
    ):
        raise InvalidInputError(f"The trusted keys {path} don't have the form {form}.")
    version = content["version"]
    if type(version) is not int or version != 1:
        raise InvalidInputError(
            f"{path} has version {quoted(version)}; this program reads version 1."
        )
    return Trust(content["keys"], content.get("receivers"))


def _check_public(name: object, public: object) -> None:
    plain = isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and name.isprintable()
    if not plain or not is_public_key(public):
        raise InvalidInputError(
            "Expected a short name and its public key, 64 hex digits of a point of large order: "
            f"{quoted(name)}, {quoted(public)}."
        )


@lru_cache(maxsize=1024)
def _public_key(public: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
