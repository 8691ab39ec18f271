"""Who takes part in a round: all patients, a Poisson sample, or who was allocated to the step.

**Random allocation** (balls and bins): a pass has ``Plan.pass_rounds`` steps, and each patient
takes part in exactly one of them, drawn uniformly for that patient alone. To draw all steps at once
takes no memory of who was there before, only a secret: a key of 256 bits, drawn anew for each pass
from the hospital's source and kept on its disk before anything is released under it. A patient's
step is a keyed hash of the patient's id, so that

- patients' steps are independent and uniform to whoever does not have the key (as far as
  HMAC-SHA256 is a pseudorandom function);
- a restart finds the steps that were, and nobody is drawn twice;
- whoever comes in the middle of a pass, or goes, moves nobody else.

A key that is lost is not replaced: in what is left of that pass nobody takes part, and the steps
send their noise alone. A step that was missed is forfeited with all who were in it. Sizes of
batches are random, and nothing that is sent follows from them but the noised sum.
"""

import hmac

import numpy as np
from jaxtyping import Int

from aggregation.data.patients import Patients
from aggregation.plan import Plan
from aggregation.roles.correlated_noise import CorrelatedNoise
from aggregation.roles.kept import Kept
from aggregation.update import draw_batches
from privacy.errors import RefusedError
from privacy.mechanisms import NoiseSource

__all__ = ["Draws", "steps_of"]

_KEY_BITS = 256
_NAME = "pass"  # of what is kept: the pass's number, 8 bytes, and its key


class Draws:
    """A hospital's draws in one run.

    Guarantees (each is a test in ``tests/aggregation/roles/test_draws.py``):
      - in a pass each patient takes part in exactly one step, with all of their records;
      - steps are uniform, and independent between patients and between passes;
      - made anew on the same folder, it draws what it drew before; a pass whose key is lost is not
        drawn again: nobody takes part in what is left of it;
      - whoever comes or goes changes nobody else's step.

    Where noise is correlated over rounds, a patient's step is the same in all passes.

    Attributes:
      noise: Of updates: the source, or what correlates it over rounds.

    Args:
      plan: What was agreed.
      hospital: Whose draws.
      source: Of keys, or of Poisson samples.
      kept: Where a pass's key is kept; None: in memory alone, so that a hospital made anew has lost
        it.
    """

    def __init__(
        self, plan: Plan, hospital: str, source: NoiseSource, kept: Kept | None = None
    ) -> None:
        self._plan, self._hospital, self._source, self._kept = plan, hospital, source, kept
        self.noise: NoiseSource = source
        if plan.correlated is not None:
            self.noise = CorrelatedNoise(plan, plan.correlated, source, kept)
        self._keys: dict[int, bytes | None] = {}  # of the pass that goes on; None: it is lost
        content = None if kept is None else kept.latest(_NAME)
        if content is not None:
            self._keys[int.from_bytes(content[:8], "big")] = content[8:]

    def prepare(self, round_: int, *, last: int) -> None:
        """Have a round's pass, and its noise, drawn before anything is spent for it.

        No patient is looked at.

        Args:
          round_: The round.
          last: The last round that something was spent for; -1: none was.

        Raises:
          RefusedError: They can't be kept, or noise is lost; nothing may be released.
        """
        if isinstance(self.noise, CorrelatedNoise):
            self.noise.prepare(round_, last=last)
        steps = self._plan.pass_rounds
        if steps is None or self._pass(round_) in self._keys:
            return
        number = self._pass(round_)
        if last >= 0 and self._pass(last) == number:
            self._keys = {number: None}
            return
        key = np.packbits(self._source.poisson_sample(0.5, _KEY_BITS)).tobytes()
        if self._kept is not None:
            self._kept.replace(_NAME, number.to_bytes(8, "big") + key)
        self._keys = {number: key}

    def batches(self, patients: Patients, round_: int) -> tuple[Patients, ...]:
        """Return the patients of each local step of a round.

        Raises:
          RefusedError: Its pass was not prepared.
        """
        steps = self._plan.pass_rounds
        if steps is None:
            return draw_batches(self._plan, self._hospital, patients, self._source)
        number, step = self._pass(round_), round_ % steps
        if number not in self._keys:
            raise RefusedError(f"The pass of round {round_} was not drawn; prepare it first.")
        key = self._keys[number]
        if key is None:
            return (patients.take(np.zeros(len(patients), dtype=np.bool_)),)
        return (patients.take(steps_of(key, patients.ids, steps) == step),)

    def _pass(self, round_: int) -> int:
        """The pass that a round is drawn with: the first, where noise has to know the rounds."""
        if self._plan.correlated is not None or self._plan.pass_rounds is None:
            return 0
        return round_ // self._plan.pass_rounds


def steps_of(key: bytes, ids: Int[np.ndarray, "records"], steps: int) -> Int[np.ndarray, "records"]:
    """Return the step of each id, 0 to ``steps - 1``: a keyed hash of the id, uniform.

    Of 256 bits the remainder is uniform to within steps / 2^256.
    """
    step_of_id = {
        patient: int.from_bytes(hmac.digest(key, patient.to_bytes(8, "big", signed=True), "sha256"))
        % steps
        for patient in set(ids.tolist())
    }
    return np.array([step_of_id[patient] for patient in ids.tolist()], dtype=np.int64)
