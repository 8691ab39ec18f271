"""How fast it is, from the committed benchmarks: the paper's sentences.

``paper/bench/federation.json`` and ``paper/bench/attacks.json`` are what ``inpatient bench
federation`` and ``inpatient bench attacks`` wrote on an idle machine. Nothing is said of speed
while one of them is not there.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.benchmarks import attacks, many_hospitals
from experiments.run.text import nearest, signed
from privacy.errors import InvalidInputError

__all__ = ["Speed", "committed"]

_PEERS = {  # as the benchmark names them
    "flower": "flower",
    "pfl": "pfl_ours",
    "pfl (its own PyTorch)": "pfl",
    "pfl (its own PyTorch, hospitals clipped)": "pfl_lighter",
}


@dataclass(frozen=True)
class Speed:
    """Both benchmarks.

    Attributes:
      rounds: Of the federation.
      inversion: Of the attacks.
    """

    rounds: many_hospitals.FederationBenchmark
    inversion: attacks.AttacksBenchmark

    def peer(self, name: str) -> float:
        """Seconds of a peer's round over ours, at the same number of hospitals.

        Raises:
          InvalidInputError: The benchmark was made without this peer.
        """
        for row in self.rounds.rows:
            if row.name == name and row.ratio is not None:
                return row.ratio
        raise InvalidInputError(
            f"The benchmark of the federation has no ratio of {name!r}: measure it with its peers "
            "(make bench-federation)."
        )

    def attack(self, name: str, size: int) -> attacks.AttacksRow:
        """One attack at one batch size.

        Raises:
          InvalidInputError: It was not measured.
        """
        for row in self.inversion.rows:
            if (row.name, row.size) == (name, size):
                return row
        raise InvalidInputError(
            f"The benchmark of attacks has no {name!r} at batches of {size}: measure it again "
            "(inpatient bench attacks --out paper/bench)."
        )

    def words(self) -> dict[str, Any]:
        """Every number of the paper's paragraph, as text."""
        large, small = (r for r in self.rounds.rows if r.name == "inpatient")
        return {
            "hospitals": f"{large.size:,}",
            "patients": f"{self.rounds.patients:,}",
            "seconds": nearest(large.seconds, 1),
            "megabytes": f"{self.rounds.peak_bytes / 1e6:.0f}",
            "beside": f"{small.size:,}",
            **{key: f"{self.peer(name):.3g}" for name, key in _PEERS.items()},
            "restarts": str(self.inversion.restarts),
            "steps": f"{self.inversion.iterations:,}",
            "searches": [self._search(size) for size in (8, 32)],
            "cascade": f"{1 / self.attack('cascade', 8).ratio:,.0f}",
        }

    def _search(self, size: int) -> dict[str, str]:
        ours, loop = self.attack("tableak", size), self.attack("tableak_loop", size)
        ends = [ours.gain + sign * (ours.gain_half or 0.0) for sign in (-1, 1)]
        between = "" if ours.gain_half is None else f" ({signed(ends[0])} to {signed(ends[1])})"
        return {
            "size": str(size),
            "times": f"{1 / ours.ratio:.3g}",
            "right": nearest(ours.accuracy),
            "loop": nearest(loop.accuracy),
            "gain": signed(ours.gain) + between,
        }


def committed(paper: Path) -> Speed | None:
    """Read both committed benchmarks; None where one is missing.

    Raises:
      InvalidInputError: One is no record of its benchmark.
    """
    paths = {name: paper / "bench" / f"{name}.json" for name in ("federation", "attacks")}
    if not all(path.exists() for path in paths.values()):
        return None
    rounds, inversion = (_content(path) for path in paths.values())
    try:
        round_rows = tuple(many_hospitals.FederationRow(**row) for row in rounds.pop("rows"))
        attack_rows = tuple(attacks.AttacksRow(**row) for row in inversion.pop("rows"))
        return Speed(
            many_hospitals.FederationBenchmark(round_rows, **rounds),
            attacks.AttacksBenchmark(attack_rows, **inversion),
        )
    except (KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{' or '.join(map(str, paths.values()))} is no record of its benchmark ({error}). "
            "Measure again on an idle machine, with --out paper/bench: inpatient bench attacks, "
            "and inpatient bench federation in .venv-bench."
        ) from error


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInputError(f"{path} is not JSON ({error}). Measure it again.") from error
    if not isinstance(content, dict):
        raise InvalidInputError(f"{path} holds no benchmark. Measure it again.")
    content.pop("stamp", None)  # older records have none
    return content
