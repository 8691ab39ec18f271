"""A whole run of many hospitals, sealed: seconds, memory and bytes, beside the same run in clear.

Hospitals of a stroke trial's shape (22 features, median 23 patients, some with one) train a
logistic model on all their patients, clipped, with shared noise at epsilon 1; every message is
made, signed, sealed, added and opened by the roles. The run in clear has the same integers and
takes no part of that. ``--cohort`` takes real hospitals instead.
"""

import resource
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from aggregation.data.patients import Patients
from aggregation.federation import Federation
from aggregation.models import Logistic
from experiments.studies.design import TRAINING, Design, Regime, make_plan
from privacy._validate import natural
from privacy.errors import RefusedError

__all__ = ["SealedRun", "measure", "stroke_like"]

_FEATURES = 22
_MEDIAN, _LARGEST = 23, 524  # patients of a hospital
_SPREAD = 1.2  # of the log of their number


@dataclass(frozen=True)
class SealedRun:
    """What was measured.

    Attributes:
      cohort: Whose patients.
      scheme: How sums were sealed.
      durable: Whether ledgers were written to disk and noise came from the operating system.
      hospitals: Number of them.
      patients: Of all.
      rounds: Of the run.
      seconds: Of the sealed run, the making of keys included.
      clear_seconds: Of the same run in clear, in the same process, before it.
      peak_bytes: Largest resident memory of the process.
      sent_bytes: Of all updates, sealed.
      epsilon: Of the whole run.
    """

    cohort: str
    scheme: str
    durable: bool
    hospitals: int
    patients: int
    rounds: int
    seconds: float
    clear_seconds: float
    peak_bytes: int
    sent_bytes: int
    epsilon: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


def stroke_like(hospitals: int, *, seed: int) -> dict[str, Patients]:
    """Draw hospitals of the trial's shape: sizes log-normal from 1 to 524, 22 features."""
    rng = np.random.default_rng([23, seed])
    sizes = np.exp(rng.normal(np.log(_MEDIAN), _SPREAD, hospitals)).round()
    drawn = {}
    for k, size in enumerate(np.clip(sizes, 1, _LARGEST).astype(int)):
        rows = rng.normal(size=(size, _FEATURES))
        ill = rows[:, 0] + rng.normal(size=size) > 0
        drawn[f"h{k:04d}"] = Patients(rows, ill.astype(np.int64))
    return drawn


def measure(
    patients: Mapping[str, Patients],
    *,
    cohort: str,
    rounds: int = 40,
    scheme: str = "shares",
    durable: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> SealedRun:
    """Run a federation in clear and sealed; return what both took.

    Args:
      patients: By hospital.
      cohort: What they are called.
      rounds: At least 1.
      scheme: Of ``aggregation.sealing.SCHEMES``.
      durable: Whether to run as hospitals would: noise of the operating system, ledgers on disk (in
        a folder that is deleted). Else seeded, ledgers in memory, and the two models are compared.
      progress: Told what is being done.

    Raises:
      InvalidInputError: ``rounds`` below 1, or an unknown scheme.
      RefusedError: The sealed run opened other sums than the clear one: never to be overlooked.
    """
    natural(rounds=rounds, least=1)
    epsilon, setting = 1.0, TRAINING[Regime.FULL, "logistic"]
    plans = {
        how: make_plan(
            run=f"bench-{how}", design=Design.SEALED, epsilon=epsilon,
            model=Logistic(next(iter(patients.values())).features.shape[1]),
            setting=replace(setting, rounds=rounds, average_last=1), patients=patients, scheme=how,
        )
        for how in ("plain", scheme)
    }  # fmt: skip
    progress("in clear")
    start = perf_counter()
    clear = Federation.simulated(plans["plain"], patients, seed=0).run()
    clear_seconds = perf_counter() - start
    progress(f"sealed by {scheme}")
    with tempfile.TemporaryDirectory() as folder:
        start = perf_counter()
        if durable:
            federation = Federation.real(
                plans[scheme], patients, out=Path(folder), target_epsilon=epsilon
            )
        else:
            federation = Federation.simulated(plans[scheme], patients, seed=0)
        outcome = federation.run()
        seconds = perf_counter() - start
    if not durable and not np.array_equal(outcome.params, clear.params):
        raise RefusedError(
            f"The run sealed by {scheme} ended with another model than the run in clear, with the "
            "same seed. Don't use this version; report it."
        )
    return SealedRun(
        cohort=cohort,
        scheme=scheme,
        durable=durable,
        hospitals=len(patients),
        patients=sum(len(p) for p in patients.values()),
        rounds=rounds,
        seconds=seconds,
        clear_seconds=clear_seconds,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        sent_bytes=sum(m.size for m in outcome.transcript.select(kind="update")),
        epsilon=epsilon,
    )
