"""Frames and parameters: every kind of wrong message is refused by name, before it is parsed."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.sealing import Parameters, largest_sum, make_scheme, wrap_probability
from aggregation.sealing.envelope import Kind, overhead, peek_label, unwrap, wrap
from aggregation.sealing.plain import read_update
from aggregation.sealing.streams import lane
from privacy.errors import CorruptMessageError, InvalidInputError
from tests.aggregation.sealing.parties import wrapped

RUN = "ab" * 32


@given(content=st.binary(max_size=300), label=st.sampled_from(["plain/1", "bfv/tenseal-0.3.18"]))
def test_what_is_wrapped_is_unwrapped(content: bytes, label: str) -> None:
    message = wrap(Kind.TOTAL, label, RUN, content)
    assert unwrap(message, Kind.TOTAL, label, RUN, largest=len(content)) == content
    assert len(message) == len(content) + overhead(label)
    assert peek_label(message) == label


@given(st.data())
def test_any_change_of_any_byte_is_refused(data: st.DataObject) -> None:
    message = wrap(Kind.UPDATE, "plain/1", RUN, b"some content")
    place = data.draw(st.integers(0, len(message) - 1))
    changed = bytearray(message)
    changed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CorruptMessageError):
        unwrap(bytes(changed), Kind.UPDATE, "plain/1", RUN, largest=12)


@given(st.integers(0, 93))
def test_any_truncation_is_refused(length: int) -> None:
    message = wrap(Kind.UPDATE, "plain/1", RUN, b"some content")
    assert len(message) > 93
    with pytest.raises(CorruptMessageError):
        unwrap(message[:length], Kind.UPDATE, "plain/1", RUN, largest=12)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (wrap(Kind.UPDATE, "plain/1", RUN, bytes(13)), "allow at most"),
        (wrap(Kind.TOTAL, "plain/1", RUN, bytes(12)), "the frame says total"),
        (wrap(Kind.UPDATE, "bfv/tenseal-0.3.16", RUN, bytes(1)), "made by 'bfv/tenseal-0.3.16'"),
        (wrap(Kind.UPDATE, "plain/1", "cd" * 32, bytes(12)), "key of another run"),
        (b"", "no readable header"),
        (b"PK\x03\x04" + bytes(80), "begin with b'INPS'"),
        (b"INPS\x02" + wrap(Kind.UPDATE, "plain/1", RUN, bytes(12))[5:], "frame version 2"),
        (b"INPS\x01\x63" + wrap(Kind.UPDATE, "plain/1", RUN, bytes(12))[6:], "says kind 99"),
    ],
)
def test_a_wrong_message_is_refused_by_name(message: bytes, reason: str) -> None:
    with pytest.raises(CorruptMessageError, match=reason):
        unwrap(message, Kind.UPDATE, "plain/1", RUN, largest=12)


def test_a_label_is_read_from_a_sealed_message_alone() -> None:
    for wrong in (b"", b"INPS", b"INPS\x01\x01\x00", bytes(40), b"INPS\x01\x01\x03\xff\xff\xff"):
        with pytest.raises(CorruptMessageError, match="do not begin"):
            peek_label(wrong)


@given(
    bound=st.integers(1, 2**61 - 1),
    values=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20),
)
def test_residues_centre_to_python_integers_and_words_keep_them(
    bound: int, values: list[int]
) -> None:
    parameters = Parameters("plain", len(values), 2, bound)
    vector = np.array(values, dtype=np.int64)
    residues = parameters.residues(vector)
    assert int(residues.max()) < 2**parameters.bits
    assert np.array_equal(parameters.centre(residues), wrapped(vector[None], parameters.bits))
    words = parameters.to_words(residues)
    assert len(words) == parameters.word * len(values)
    assert np.array_equal(parameters.from_words(words), residues)
    sums = residues.astype(lane(parameters.bits))
    parameters.add_words(sums, b"abc" + words, behind=3)
    assert np.array_equal(sums, (residues << np.uint64(1)).astype(sums.dtype))
    with pytest.raises(CorruptMessageError, match="Expected"):
        parameters.from_words(words + b"\0")


def test_the_bound_fits_the_modulus_and_no_bit_is_wasted() -> None:
    for bound in (1, 2, 3, 4, 7, 8, 10**6, 2**40 - 1, 2**40):
        bits = Parameters("plain", 1, 1, bound).bits
        assert bound <= 2 ** (bits - 1) - 1 or bound == 2 ** (bits - 1) - 1
        assert bound > 2 ** (bits - 2) - 1


def test_parameters_survive_json_and_their_digest_names_them() -> None:
    parameters = Parameters("bfv", 19, 4, 2**55, {"degree": 4096})
    assert Parameters.from_json(parameters.to_json()) == parameters
    others = [
        Parameters("plain", 19, 4, 2**55, {"degree": 4096}),
        Parameters("bfv", 20, 4, 2**55, {"degree": 4096}),
        Parameters("bfv", 19, 5, 2**55, {"degree": 4096}),
        Parameters("bfv", 19, 4, 2**55 + 1, {"degree": 4096}),
        Parameters("bfv", 19, 4, 2**55, {"degree": 8192}),
    ]
    assert len({p.digest for p in [parameters, *others]}) == 6
    for wrong in ({}, {**parameters.to_json(), "version": 2}, {**parameters.to_json(), "dim": 0}):
        with pytest.raises(CorruptMessageError, match="not sealing parameters"):
            Parameters.from_json(wrong)


@pytest.mark.parametrize("wrong", [{"dim": 0}, {"contributors": 0}, {"bound": 0}, {"bound": 2**62}])
def test_impossible_parameters_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match="Expected"):
        make_scheme("plain", **{"dim": 3, "contributors": 2, "bound": 9, **wrong})


def test_only_whole_numbers_of_the_right_length_are_sealed() -> None:
    sealer = make_scheme("plain", dim=3, contributors=2, bound=9).sealer("a")
    for wrong in (np.zeros(2, dtype=np.int64), np.zeros((3, 1), dtype=np.int64)):
        with pytest.raises(InvalidInputError, match="int64 values of shape"):
            sealer.seal(wrong)


def test_a_plain_update_is_read_by_everybody() -> None:
    scheme = make_scheme("plain", dim=3, contributors=2, bound=9)
    sealed = scheme.sealer("a").seal(np.array([1, -2, 3]))
    assert read_update(scheme.parameters, sealed).tolist() == [1, -2, 3]
    with pytest.raises(CorruptMessageError, match="made by 'shares/1'"):
        read_update(scheme.parameters, wrap(Kind.UPDATE, "shares/1", scheme.digest, bytes(9)))


def chance(bound: int, noise_variance: float, rounds: int = 100) -> float:
    """For the four hospitals' sizes at radius 500: at most 460,000 without noise."""
    return wrap_probability(
        Parameters("plain", 19, 4, bound),
        radius=500,
        units=(303, 294, 123, 200),
        noise_variance=noise_variance,
        rounds=rounds,
    )


@pytest.mark.parametrize("noise_variance", [0.0, 4.0e6, 1e9])
def test_largest_sum_keeps_the_chance_of_wrapping(noise_variance: float) -> None:
    bound = largest_sum(
        radius=500, units=(303, 294, 123, 200), noise_variance=noise_variance, dim=19, rounds=100
    )
    # 500 * 920 and a tail of s sqrt(2 ln(2 * 19 * 100 / 1e-6)), by hand.
    assert bound == 460_000 + int(np.ceil(np.sqrt(noise_variance * 2 * np.log(3.8e9))))
    assert chance(bound, noise_variance) <= 1e-6


def test_a_narrow_modulus_wraps_with_the_stated_chance() -> None:
    std = (2**19 - 1 - 460_000) / 5  # five standard deviations of room
    assert chance(2**19 - 1, std**2) == pytest.approx(2 * 19 * 100 * np.exp(-12.5))
    assert chance(1000, 4.0e6) == 1.0
    assert chance(2**19 - 1, 0.0) == 0.0


def test_the_stated_chance_of_wrapping_is_an_upper_bound() -> None:
    # Rounded Gaussian noise of the stated variance against the stated chance, by simulation.
    parameters = Parameters("plain", 1000, 1, 31)
    stated = wrap_probability(parameters, radius=1, units=(1,), noise_variance=49.0, rounds=1)
    rng = np.random.default_rng(0)
    wraps = [(np.abs(np.rint(rng.normal(0, 7, 1000)) + 1) > 31).any() for _ in range(2000)]
    assert 0 < np.mean(wraps) <= stated < 1


def test_a_wide_header_length_is_not_believed() -> None:
    message = wrap(Kind.UPDATE, "plain/1", RUN, b"x" * 12)
    start = 7 + len("plain/1") + 32
    lying = message[:start] + struct.pack("<Q", 2**60) + message[start + 8 :]
    with pytest.raises(CorruptMessageError, match="is damaged"):
        unwrap(lying, Kind.UPDATE, "plain/1", RUN, largest=12)
