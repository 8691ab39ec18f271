"""What sealing costs: our schemes beside the field's, in bytes and in time, in one run.

One vector of values in [-0.1, 0.1] a hospital. Our schemes seal it as integers of step 2^-26
(errors below NVFLARE's own), sized for the stated number of hospitals. A few hospitals are really
sealed and opened; parameters, guard bits and masks are those of all of them. Ratios are to NVFLARE:
below 1 is less.

The least that a sealed update can have is what the integers of a sum need in clear, ``bits`` each
("minimum"); "aes" is the time of the six streams that the scheme ``shares`` expands, and nothing
else.
"""

import math
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aggregation.roles.opening import LocalOpening
from aggregation.sealing import SCHEMES, Contribution, Parameters, Policy, Roster, make_scheme
from aggregation.sealing.proposal import Place
from aggregation.sealing.quorum import Quorum
from aggregation.sealing.streams import lane
from experiments.benchmarks.peers import PEERS, PeerMeasured, least_time, require_peers
from experiments.run.plots import PAGE, decades, legend, printed
from privacy._validate import natural
from privacy.errors import CorruptMessageError
from privacy.ledger.log.keys import SigningKey

__all__ = ["OURS", "SealingBenchmark", "SealingRow", "draw", "measure"]

OURS = ("plain", "shares", "bfv", "threshold", "pairwise", "ckks")
STEP = 2.0**-26
REACH = 0.1
SEALED = 3
_BASE = "nvflare"
_RUN = "bench"
_LOOKS = {
    "minimum": ("#000000", "", "least: the integers in clear"),
    "aes": ("#7f7f7f", "", "AES of six streams alone"),
    "numpy": ("#000000", "x", "float32 in clear"),
    "shares": ("#0072B2", "o", "shares"),
    "bfv": ("#009E73", "s", "bfv"),
    "threshold": ("#CC79A7", "D", "threshold"),
    "pairwise": ("#56B4E9", "v", "pairwise"),
    "ckks": ("#F0E442", "P", "ckks"),
    "nvflare": ("#D55E00", "^", "NVFLARE (CKKS)"),
    "flower": ("#E69F00", "<", "Flower (SecAgg+)"),
    "paillier": ("#999999", "*", "Paillier 3072"),
}

Contender = Callable[[NDArray[np.float64], int, int], PeerMeasured]


@dataclass(frozen=True)
class SealingRow:
    """One contender at one size.

    Attributes:
      name: Ours, ``nvflare``, ``flower``, ``paillier``, ``numpy``, ``aes`` or ``minimum``.
      size: Values of a vector.
      hospitals: That a sum may hold.
      seconds: To seal one update.
      add_seconds: To read one sealed update and add it.
      open_seconds: To open the sum, signatures and policy included.
      bytes: Of one sealed update.
      accuracy: Largest absolute error of the opened sum, in the updates' units.
      ratio_to: What the ratios are to; None without peers.
      ratio: Of seconds.
      bytes_ratio: Of bytes.
      note: What the figures leave out.
    """

    name: str
    size: int
    hospitals: int
    seconds: float | None
    add_seconds: float | None
    open_seconds: float | None
    bytes: int | None
    accuracy: float | None
    ratio_to: str | None = None
    ratio: float | None = None
    bytes_ratio: float | None = None
    note: str = ""


@dataclass(frozen=True)
class SealingBenchmark:
    """All rows of one run.

    Attributes:
      rows: In order of hospitals, size and contender.
      peers: Versions of the peers.
      peak_bytes: Largest memory of the process.
    """

    rows: tuple[SealingRow, ...]
    peers: dict[str, str]
    peak_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "peers": self.peers,
            "peak_bytes": self.peak_bytes,
        }


def measure(
    points: Sequence[tuple[int, int]],
    *,
    peers: bool,
    repeats: int,
    progress: Callable[[str], None] = lambda _: None,
) -> SealingBenchmark:
    """Measure every contender at every point.

    Args:
      points: Pairs of size and hospitals.
      peers: Whether the field's packages take part.
      repeats: Timings of which the least is taken.
      progress: Told what is measured next.

    Raises:
      InvalidInputError: A peer is absent, or a count is below 1.
    """
    natural(repeats=repeats, least=1)
    versions = require_peers() if peers else {}
    rows: list[SealingRow] = []
    for size, hospitals in points:
        natural(size=size, least=1)
        natural(hospitals=hospitals, least=1)
        rng = np.random.default_rng([size, hospitals])
        updates = rng.uniform(-REACH, REACH, (min(SEALED, hospitals), size))
        measurements: dict[str, PeerMeasured] = {}
        for name, contender in _contenders(peers):
            progress(f"{name}, {size} values, {hospitals} hospitals")
            measurements[name] = contender(updates, hospitals, repeats)
        rows += _rows(measurements, size, hospitals)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return SealingBenchmark(tuple(rows), versions, peak)


def largest_coordinate(hospitals: int) -> int:
    """Return the bound of a sum's coordinates, in integer steps."""
    return hospitals * math.ceil(REACH / STEP)


def measure_ours(
    name: str, updates: NDArray[np.float64], hospitals: int, repeats: int
) -> PeerMeasured:
    """Seal, add and open by one of our schemes, with signatures and policy.

    Raises:
      CorruptMessageError: An exact scheme opened another sum: never to be overlooked.
    """
    scheme = make_scheme(
        name, dim=updates.shape[1], contributors=hospitals, bound=largest_coordinate(hospitals)
    )
    integers = np.rint(updates / STEP).astype(np.int64)
    names = [f"hospital {i}" for i in range(len(updates))]
    keys = {hospital: SigningKey.generate() for hospital in names}
    sealers = [scheme.sealer(hospital) for hospital in names]
    seconds, _ = least_time(lambda: sealers[0].seal(integers[0]), repeats=repeats)
    round_ = repeats + 1  # the first has sealed some rounds more than the others
    contributions = [
        Contribution.sign(
            keys[hospital],
            sealer.seal(row, round_=round_),
            run=_RUN,
            hospital=hospital,
            base_version=0,
            parameters=scheme.digest,
        )
        for hospital, sealer, row in zip(names, sealers, integers, strict=True)
    ]
    adder = scheme.adder()

    def add_all() -> bytes:
        for contribution in contributions:
            adder.add(contribution.sealed)
        return adder.total()

    add_seconds, total = least_time(add_all, repeats=repeats)
    size = len(contributions[0].sealed)
    if name == "pairwise" and hospitals > len(updates):
        note = "all hospitals answer to open; not opened here"
        return PeerMeasured(seconds, add_seconds / len(updates), None, size, None, note)
    roster = Roster(_RUN, {hospital: key.public for hospital, key in keys.items()})
    opener = LocalOpening(scheme, Policy(roster, min_honest=len(names), c_assumed=0))
    opener.place = Place(number=round_)
    start = perf_counter()
    opened = opener.open(total, contributions)  # once: a contribution is opened once
    open_seconds = perf_counter() - start
    if name != "ckks" and not np.array_equal(opened, integers.sum(axis=0)):
        raise CorruptMessageError(
            f"{name} opened a wrong sum of {updates.shape[1]} values for {hospitals} hospitals. "
            "Don't use it; report this run's versions."
        )
    error = float(np.abs(opened * STEP - updates.sum(axis=0)).max())
    return PeerMeasured(seconds, add_seconds / len(updates), open_seconds, size, error)


def _measure_numpy(updates: NDArray[np.float64], hospitals: int, repeats: int) -> PeerMeasured:
    """Float32 in clear."""
    singles = updates.astype(np.float32)
    seconds, content = least_time(singles[0].tobytes, repeats=repeats)
    total = np.zeros(updates.shape[1], dtype=np.float32)

    def add() -> None:
        np.add(total, np.frombuffer(content, dtype=np.float32), out=total)

    add_seconds, _ = least_time(add, repeats=repeats)
    error = float(np.abs(singles.sum(axis=0) - updates.sum(axis=0)).max())
    return PeerMeasured(seconds, add_seconds, 0.0, len(content), error, "float32 in clear")


def _measure_aes(updates: NDArray[np.float64], hospitals: int, repeats: int) -> PeerMeasured:
    """AES-256 over as many bytes as the streams of the scheme ``shares`` have, and nothing else."""
    bits = Parameters("plain", updates.shape[1], hospitals, largest_coordinate(hospitals)).bits
    streams = len(Quorum(("1", "2", "3", "4"), 3, 1).pieces)
    size, block = updates.shape[1] * lane(bits).itemsize, 1 << 16
    zeros, buffer = memoryview(bytes(block)), bytearray(block + 16)

    def expand() -> None:
        for _ in range(streams):
            cipher = Cipher(algorithms.AES(os.urandom(32)), modes.CTR(bytes(16))).encryptor()
            for start in range(0, size, block):
                cipher.update_into(zeros[: size - start], buffer)

    seconds, _ = least_time(expand, repeats=max(repeats, 5))
    return PeerMeasured(seconds, None, None, 0, None, f"{streams} key streams alone")


def _measure_minimum(updates: NDArray[np.float64], hospitals: int, repeats: int) -> PeerMeasured:
    """The bits of the integers of a sum, in clear."""
    bits = Parameters("plain", updates.shape[1], hospitals, largest_coordinate(hospitals)).bits
    return PeerMeasured(
        0.0, None, None, -(-bits * updates.shape[1] // 8), None, f"{bits} bits a value"
    )


def _contenders(peers: bool) -> Iterator[tuple[str, Contender]]:
    yield "minimum", _measure_minimum
    yield "numpy", _measure_numpy
    yield "aes", _measure_aes
    for name in (*OURS, *SCHEMES.added):
        yield name, partial(measure_ours, name)
    if peers:
        yield from PEERS.items()


def _rows(measurements: dict[str, PeerMeasured], size: int, hospitals: int) -> list[SealingRow]:
    base = measurements.get(_BASE)
    rows = []
    for name, m in measurements.items():
        timed = name != "minimum"
        row = SealingRow(
            name,
            size,
            hospitals,
            m.seconds if timed else None,
            m.add_seconds,
            m.open_seconds,
            m.bytes or None,
            m.error,
            note=m.note,
        )
        if base is not None:
            row = replace(
                row,
                ratio_to=_BASE,
                ratio=m.seconds / base.seconds if timed else None,
                bytes_ratio=m.bytes / base.bytes if m.bytes else None,
            )
        rows.append(row)
    return rows


@printed
def draw(benchmark: SealingBenchmark, hospitals: int) -> Figure:
    """Bytes and seconds of sealing against the vector's size, for one number of hospitals."""
    rows = [row for row in benchmark.rows if row.hospitals == hospitals]
    names = [name for name in _LOOKS if any(row.name == name for row in rows)]
    figure = Figure(figsize=(0.9 * PAGE, 2.7), layout="constrained")
    bytes_axes, seconds_axes = figure.subplots(1, 2)
    for name in names:
        colour, marker, label = _LOOKS[name]
        points = sorted((r for r in rows if r.name == name), key=lambda r: r.size)
        style = {"color": colour, "marker": marker, "markersize": 3.5, "linewidth": 1.0}
        if name in ("minimum", "aes"):
            style |= {"linestyle": ":", "marker": ""}
        sized = [r for r in points if r.bytes]
        if sized:
            bytes_axes.plot([r.size for r in sized], [r.bytes for r in sized], label=label, **style)
        timed = [r for r in points if r.seconds]
        if timed:
            seconds_axes.plot(
                [r.size for r in timed], [r.seconds for r in timed], label=label, **style
            )
    bytes_axes.set_ylabel("bytes of one sealed update")
    seconds_axes.set_ylabel("seconds to seal one update")
    for ax in (bytes_axes, seconds_axes):
        ax.set(xscale="log", yscale="log", xlabel=f"values ({hospitals} hospitals)")
        for axis in (ax.xaxis, ax.yaxis):
            decades(axis)
        ax.grid(visible=True, which="major", linewidth=0.3)
    legend(figure, [bytes_axes, seconds_axes], columns=4)
    return figure
