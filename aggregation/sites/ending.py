"""The model that a run leaves at a hospital, from what it kept alone."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from aggregation.agreement import Trajectory
from aggregation.data.patients import Schema
from aggregation.roles.evidence import Evidence
from aggregation.roles.kept import Kept
from aggregation.roles.messages import read_integers, unpack
from aggregation.sites.agreed import Agreed
from aggregation.trained import Trained
from privacy.errors import RefusedError

__all__ = ["kept_models", "save_model"]


def kept_models(agreed: Agreed, kept: Kept) -> list[Float[np.ndarray, "dim"]]:
    """Return all models, recomputed from the sums that a hospital has learnt.

    Raises:
      RefusedError: One of them is not there.
    """
    path = Trajectory(agreed.agreement)
    models, dim = [path.params], agreed.parameters.dim
    for number in range(agreed.agreement.timing.sums):
        content = kept.get(f"opened-{number}")
        if content is None:
            raise RefusedError(f"The sum of round {number} was not learnt here.")
        evidence, said, _ = unpack(content, most=3)
        hospitals = Evidence.from_bytes(evidence).proposal.hospitals
        path.step(read_integers(said, dim), hospitals)
        models.append(path.params)
    return models


def save_model(folder: Path, agreed: Agreed, kept: Kept, schema: Schema) -> None:
    """Write ``model/``, from what the hospital has learnt itself.

    Raises:
      InvalidInputError: The disk refuses.
    """
    params = agreed.plan.final_model(kept_models(agreed, kept))
    Trained.of(agreed.plan, params, schema).save(folder / "model")
