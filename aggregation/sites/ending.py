"""The model that a run leaves at a hospital, from what it kept alone, and its own fit around it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from aggregation.agreement import Trajectory
from aggregation.data.patients import Schema
from aggregation.roles.evidence import Evidence
from aggregation.roles.kept import Kept
from aggregation.roles.messages import read_integers, unpack
from aggregation.rules import Local
from aggregation.sites.agreed import Agreed
from aggregation.trained import Trained
from privacy.errors import RefusedError
from privacy.files import write_durably
from privacy.ledger.log import canonical

__all__ = ["LOCAL", "kept_models", "save_model"]

LOCAL = "local.json"
"""File of a site's folder: what the rule fitted for this hospital."""


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


def save_model(
    folder: Path,
    agreed: Agreed,
    kept: Kept,
    schema: Schema,
    finish: Callable[[Float[np.ndarray, "dim"]], Local],
) -> None:
    """Write ``model/``, from what the hospital has learnt itself, and ``local.json`` beside it.

    That is what the plan's rule fits around the model for this hospital, if it fits anything: it
    follows from the patients, is the owner's alone (mode 600), and no word of it leaves.

    Args:
      folder: The site's.
      agreed: What all sites have alike.
      kept: What the hospital has learnt.
      schema: Of its table.
      finish: Fits around the final model (``Hospital.finish``).

    Raises:
      InvalidInputError: The disk refuses.
    """
    params = agreed.plan.final_model(kept_models(agreed, kept))
    fitted = finish(params)
    if fitted != Local():
        write_durably(folder / LOCAL, canonical.encode(vars(fitted)) + b"\n", mode=0o600)
    Trained.of(agreed.plan, params, schema).save(folder / "model")
