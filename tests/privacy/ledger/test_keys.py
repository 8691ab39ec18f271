import pickle
from pathlib import Path

import pytest

from privacy.errors import InvalidInputError
from privacy.ledger.log.keys import SigningKey, load_trust, save_trust, verifies


def test_create_makes_a_file_that_its_owner_alone_can_read(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "north.key"
    key = SigningKey.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
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
