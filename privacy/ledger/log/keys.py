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
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy.errors import InvalidInputError

__all__ = ["SigningKey", "load_trust", "save_trust", "verifies"]

_PUBLIC = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")


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
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, 0o600)
                file.write(pem)
                file.flush()
                os.fsync(descriptor)
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
            mode = path.stat().st_mode & 0o777
            content = path.read_bytes()
        except OSError as error:
            raise InvalidInputError(
                f"The signing key {path} can't be read: {error.strerror}. Without it the "
                "hospital's ledger can be verified but not extended."
            ) from error
        if mode & 0o077:
            raise InvalidInputError(
                f"The signing key {path} has mode {mode:04o}: others can read it. If they have "
                f"not, run chmod 600 {path}; otherwise enrol a new key."
            )
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
    if not _PUBLIC.fullmatch(public) or not _SIGNATURE.fullmatch(signature):
        return False
    try:
        _public_key(public).verify(bytes.fromhex(signature), message)
    except InvalidSignature:
        return False
    return True


def save_trust(path: Path, keys: Mapping[str, str]) -> None:
    """Write public keys by hospital, to be handed to auditors apart from the ledgers."""
    for name, public in keys.items():
        _check_public(name, public)
    text = json.dumps({"version": 1, "keys": dict(keys)}, indent=2, ensure_ascii=False)
    partial = path.with_suffix(path.suffix + ".tmp")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)


def load_trust(path: Path) -> dict[str, str]:
    """Read public keys by hospital.

    Raises:
      InvalidInputError: Missing, or not what ``save_trust`` writes.
    """
    form = '{"version": 1, "keys": {"hospital": "64 hex digits"}}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, keys = content["version"], dict(content["keys"])
    except OSError as error:
        raise InvalidInputError(
            f"The trusted keys {path} can't be read: {error.strerror}."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"The trusted keys {path} don't have the form {form}.") from error
    if version != 1:
        raise InvalidInputError(f"{path} has version {version!r}; this program reads version 1.")
    for name, public in keys.items():
        _check_public(name, public)
    return keys


def _check_public(name: object, public: object) -> None:
    if not isinstance(name, str) or not isinstance(public, str) or not _PUBLIC.fullmatch(public):
        raise InvalidInputError(
            f"Expected the public key of {name!r} as 64 hex digits: {public!r}."
        )


@lru_cache(maxsize=1024)
def _public_key(public: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
