import pickle
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from privacy.errors import InvalidInputError
from privacy.ledger.log.keys import SigningKey, Trust, load_trust, save_trust, verifies

IDENTITY = "01" + "00" * 31
FIELD = 2**255 - 19
EIGHTH = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
SMALL = [0, 1, FIELD - 1, EIGHTH, FIELD - EIGHTH, FIELD, FIELD + 1]  # the last two: written anew


def test_create_makes_a_file_that_its_owner_alone_can_read(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "north.key"
    key = SigningKey.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert SigningKey.load(path).public == key.public


def test_create_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "north.key"
    SigningKey.create(path)
    before = path.read_bytes()
    with pytest.raises(InvalidInputError, match="never overwritten"):
        SigningKey.create(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_load_refuses_a_file_that_others_can_read(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "north.key"
    SigningKey.create(path)
    path.chmod(mode)
    with pytest.raises(InvalidInputError, match=f"mode {mode:04o}"):
        SigningKey.load(path)


def test_a_missing_or_foreign_key_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="can't be read"):
        SigningKey.load(tmp_path / "absent.key")
    path = tmp_path / "bad.key"
    path.write_text("not a key")
    path.chmod(0o600)
    with pytest.raises(InvalidInputError, match="no unencrypted PEM"):
        SigningKey.load(path)


def test_neither_repr_nor_pickle_shows_the_key(tmp_path: Path) -> None:
    path = tmp_path / "north.key"
    key = SigningKey.create(path)
    secret = path.read_text().splitlines()[1]
    assert secret not in repr(key)
    assert key.public in repr(key)
    with pytest.raises(InvalidInputError, match="not pickled"):
        pickle.dumps(key)


def test_signatures_of_others_and_malformed_ones_do_not_verify() -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    signature = key.sign(b"m")
    assert verifies(key.public, signature, b"m")
    assert not verifies(other.public, signature, b"m")
    assert not verifies(key.public, signature.upper(), b"m")
    assert not verifies(key.public, signature[:-2], b"m")
    assert not verifies("no key", signature, b"m")


def test_trusted_keys_round_trip(tmp_path: Path) -> None:
    keys = {"north": SigningKey.generate().public, "süd": SigningKey.generate().public}
    save_trust(tmp_path / "keys.json", keys)
    assert load_trust(tmp_path / "keys.json") == keys


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 2, "keys": {}}', '{"version": 1, "keys": {"a": "12"}}']
)
def test_trusted_keys_of_another_form_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError):
        load_trust(path)


def of_height(height: int, sign: int) -> str:
    return (height | sign << 255).to_bytes(32, "little").hex()


def holds(public: str, signature: str, message: bytes) -> bool:
    """What the library says, without our own check."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(
            bytes.fromhex(signature), message
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def test_under_a_key_of_small_order_nothing_verifies_though_the_library_says_so() -> None:
    made_up = IDENTITY + "00" * 32  # nobody's: R is the identity, S is 0
    won = 0
    for public in {of_height(height, sign) for height in SMALL for sign in (0, 1)}:
        for number in range(64):
            message = f"entry {number}".encode()
            won += holds(public, made_up, message)
            assert not verifies(public, made_up, message)
        with pytest.raises(InvalidInputError, match="public key"):
            Trust({"north": public})
    assert won > 100  # undefended the forger wins, at the identity for every message
    assert all(holds(IDENTITY, made_up, bytes([n])) for n in range(64))
