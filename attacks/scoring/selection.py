r"""The worst of many attacks, without the luck of having chosen it.

The largest of several measured rates is too large: among attacks that do nothing, the luckiest is
the one that is chosen. So the attack is chosen on one half of the batches, and its rate is measured
on the other half, which played no part in the choice: given the choice, the second half is a fresh
sample, and its interval covers as an interval does (sample splitting, Cox 1975). Batches stay
whole, because patients of one batch are found or missed together.

>>> hits = {"lucky": np.array([1, 1, 0, 0]), "steady": np.array([1, 1, 1, 1])}
>>> worst = worst_attack(hits, np.array([0, 1, 2, 3]), seed=1)
>>> worst.attack, worst.rate.value, worst.rate.units
('steady', 1.0, 2)
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Shaped

from attacks.scoring.rates import Rate, success_rate
from privacy._validate import natural
from privacy.errors import InvalidInputError

__all__ = ["Worst", "choosing_half", "worst_attack"]


@dataclass(frozen=True)
class Worst:
    """The attack that was chosen, and its rate where it was not chosen.

    Attributes:
      attack: Its name.
      rate: Over the reporting half; over all batches where there was nothing to choose.
      tried: Names of all attacks that it was chosen among.
      chosen_on: Batches of the choosing half; 0 where there was nothing to choose.
      reported: Which units the rate is over.
    """

    attack: str
    rate: Rate
    tried: tuple[str, ...]
    chosen_on: int
    reported: Bool[np.ndarray, "units"]


def choosing_half(clusters: Int[np.ndarray, "units"], *, seed: int) -> Bool[np.ndarray, "units"]:
    """Say which units belong to the half of the clusters on which an attack is chosen.

    Guarantees (each is a test in ``tests/attacks/scoring/test_selection.py``):
      - a cluster is in one half whole;
      - the halves differ by at most one cluster, and the reporting half is not the smaller;
      - the same clusters and seed give the same halves, in whatever order the units come.

    Args:
      clusters: Number of each unit's batch.
      seed: Draws the halves.
    """
    natural(seed=seed)
    names = np.unique(clusters)
    chosen = np.random.default_rng([seed, len(names)]).permutation(names)[: len(names) // 2]
    return np.isin(clusters, chosen)


def worst_attack(
    hits: Mapping[str, Shaped[np.ndarray, "units"]],
    clusters: Int[np.ndarray, "units"],
    *,
    seed: int,
    confidence: float = 0.95,
) -> Worst:
    """Choose the attack that succeeds most on half of the batches; report it on the other half.

    Guarantees (each is a test in ``tests/attacks/scoring/test_selection.py``):
      - among attacks of equal strength the reported rate is unbiased, where the largest rate of
        all is not;
      - an attack that is clearly strongest is chosen.

    Args:
      hits: By attack: whether it succeeded, unit by unit, in the same order for all of them.
      clusters: Number of each unit's batch.
      seed: Draws the halves; and resamples the reporting half.
      confidence: Of the interval.

    Raises:
      InvalidInputError: No attack, attacks that faced different units, or too few batches: two
        halves need three, so that the reporting one can be resampled.
    """
    if not hits:
        raise InvalidInputError("Choosing the worst attack needs at least one attack.")
    for name, values in hits.items():
        if values.shape != clusters.shape:
            raise InvalidInputError(
                f"The attack {name!r} faced {len(values)} targets, expected {len(clusters)}: all "
                "attacks must face the same targets."
            )
    rng = np.random.default_rng([seed, 1])
    tried = tuple(hits)
    if len(tried) == 1:
        rate = success_rate(hits[tried[0]], clusters, rng, confidence=confidence)
        return Worst(tried[0], rate, tried, 0, np.ones(len(clusters), dtype=np.bool_))
    batches = len(np.unique(clusters))
    if batches < 3:
        raise InvalidInputError(
            f"Choosing among {len(tried)} attacks needs at least 3 batches, got {batches}: the "
            "choice is made on half of them and reported on the other half. Attack more batches."
        )
    half = choosing_half(clusters, seed=seed)
    best = max(tried, key=lambda name: float(hits[name][half].mean()))  # the first among equals
    rate = success_rate(hits[best][~half], clusters[~half], rng, confidence=confidence)
    return Worst(best, rate, tried, len(np.unique(clusters[half])), ~half)
