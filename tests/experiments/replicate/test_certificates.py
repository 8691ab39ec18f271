"""The hunt finds what it hunts for: certificates of guesses, and those after several steps."""

from typing import Any, ClassVar

import numpy as np
import pytest

from attacks.exact.closed_form import ClosedForm
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction
from attacks.views import GradientView, Observation
from experiments.replicate.certificates import hunt
from tests.attacks.runs import SCHEMA, cohort

POOL = cohort(9, size=200)["north"]


class Liar:
    """Certifies the prior's best guess."""

    name: ClassVar[str] = "liar"
    needs: ClassVar[type[GradientView]] = GradientView

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        return Reconstruction(prior.best_guesses(1), np.ones(1), np.ones(1, dtype=np.bool_))


class Reckless(ClosedForm):
    """Certifies all that the closed form reads, several steps or not."""

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        found = super().reconstruct(observation, prior)
        return Reconstruction(
            found.records, found.confidence, np.ones(len(found.records), dtype=np.bool_)
        )


@pytest.mark.parametrize("attack", [Liar(), Reckless()], ids=["guess", "several steps"])
def test_false_certificates_are_found(attack: Any) -> None:
    found = hunt(attack, POOL, SCHEMA, batches=20, largest=6, seed=0)
    assert 0 < found.false <= found.certified
    assert 2 <= found.spoilt <= found.batches == 20  # two of them walked several steps


def test_a_hunt_meets_the_same_batches_again_and_certifies_some() -> None:
    first, again, other = (
        hunt(ClosedForm(), POOL, SCHEMA, batches=12, largest=6, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again != other
    assert first.certified > first.spoilt == 0
