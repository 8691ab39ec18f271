"""Primes that fit a negacyclic ring: 1 modulo 2N, so that N-th roots of -1 exist."""

from privacy.errors import InvalidInputError

__all__ = ["is_prime", "ring_prime_above", "ring_primes"]

# These bases decide every number below 3.3e24 (Sorenson and Webster 2015, Table 1).
_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)


def is_prime(n: int) -> bool:
    """Whether ``n`` below 2^81 is prime (Miller-Rabin, without error in that range)."""
    if n < 2:
        return False
    for p in _WITNESSES:
        if n % p == 0:
            return n == p
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in _WITNESSES:
        x = pow(base, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def ring_primes(degree: int, bits: int, count: int) -> tuple[int, ...]:
    """Return the ``count`` largest primes of ``bits`` bits that are 1 modulo ``2 * degree``.

    Raises:
      InvalidInputError: There are fewer.
    """
    step = 2 * degree
    candidate = (((1 << bits) - 1) // step) * step + 1
    primes: list[int] = []
    while len(primes) < count and candidate.bit_length() == bits:
        if is_prime(candidate):
            primes.append(candidate)
        candidate -= step
    if len(primes) < count:
        raise InvalidInputError(
            f"Only {len(primes)} primes of {bits} bits are 1 modulo {step}; {count} were asked for."
        )
    return tuple(primes)


def ring_prime_above(degree: int, floor: int) -> int:
    """Return the smallest prime above ``floor`` that is 1 modulo ``2 * degree``."""
    step = 2 * degree
    candidate = floor // step * step + 1
    while candidate <= floor or not is_prime(candidate):
        candidate += step
    return candidate
