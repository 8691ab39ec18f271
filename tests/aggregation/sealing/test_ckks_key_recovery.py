"""The key recovery wins against sums as decrypted, and loses against sums rounded to the grid."""

from typing import Any

import numpy as np
import pytest
import tenseal as ts
from numpy.typing import NDArray

from aggregation.sealing import make_scheme
from aggregation.sealing.ckks import CHAIN, DEGREE, SCALE, Ckks, _Opener
from privacy.errors import InvalidInputError
from tests.aggregation.sealing.ckks_key_recovery import (
    DecryptedSum,
    _decode,
    _encode,
    from_tenseal,
    recover_key,
)
from tests.aggregation.sealing.parties import Parties, opener_of

SLOTS = DEGREE // 2


def nvflare(symmetric: bool) -> Any:
    """NVFLARE's context: its defaults, as its HE provisioning writes them."""
    kind = ts.ENCRYPTION_TYPE.SYMMETRIC if symmetric else ts.ENCRYPTION_TYPE.ASYMMETRIC
    context = ts.context(
        ts.SCHEME_TYPE.CKKS, DEGREE, -1, list(CHAIN), encryption_type=kind, n_threads=1
    )
    context.global_scale = SCALE
    return context


def seen(vector: Any, slots: NDArray[np.float64]) -> DecryptedSum:
    return from_tenseal(vector, slots, chain=CHAIN)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("hospitals", [1, 4, 50])
def test_two_decrypted_sums_give_the_key_and_the_key_opens_every_update(
    symmetric: bool, hospitals: int
) -> None:
    context = nvflare(symmetric)
    rng = np.random.default_rng(0)
    sums = []
    for _ in range(2):
        updates = rng.normal(0, 0.03, (hospitals, SLOTS)).clip(-0.1, 0.1)
        ciphertexts = [ts.ckks_vector(context, u.tolist()) for u in updates]
        total = ciphertexts[0].copy()
        for ciphertext in ciphertexts[1:]:
            total.add_(ciphertext)
        sums.append(seen(total, np.array(total.decrypt())))
    key = recover_key(sums)
    assert key is not None
    assert recover_key(sums[:1]) is None  # one alone has half of the equations
    victim = seen(ciphertexts[-1], np.zeros(SLOTS))  # nobody decrypted this one
    assert np.abs(key.open(victim) - updates[-1]).max() < 1e-6


def test_our_opener_gives_out_nothing_that_the_attack_can_use() -> None:
    scheme = make_scheme("ckks", dim=SLOTS, contributors=4, bound=2**30)
    assert isinstance(scheme, Ckks)
    parties = Parties(scheme)
    rng = np.random.default_rng(1)
    opener = opener_of(scheme, parties.policy())
    rounded, raw = [], []
    for _ in range(2):
        vectors = rng.integers(-(2**25), 2**25, (4, SLOTS))
        mine = [parties.contribute(n, v) for n, v in zip(parties.names, vectors, strict=True)]
        total = parties.total(mine)
        opened = opener.open(total, mine)
        assert isinstance(opener, _Opener)
        (vector,) = opener._parse(opener._content(total))
        rounded.append(seen(vector, opened / 2.0 ** (scheme.parameters.bits - 1)))
        raw.append(seen(vector, np.array(vector.decrypt())))
    assert recover_key(rounded) is None
    assert recover_key(raw) is not None  # the very same ciphertexts


def test_numbers_encode_and_decode() -> None:
    slots = np.random.default_rng(2).normal(size=64)
    assert np.allclose(_decode(_encode(slots, 2.0**40).astype(float) / 2.0**40), slots, atol=1e-10)


def test_a_ciphertext_of_another_form_is_refused() -> None:
    context = ts.context(ts.SCHEME_TYPE.BFV, 4096, 1032193, [54, 55], n_threads=1)
    with pytest.raises(InvalidInputError, match="one CKKS ciphertext"):
        from_tenseal(ts.bfv_vector(context, [1, 2]), np.zeros(2), chain=[54, 55])
