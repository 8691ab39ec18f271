r"""The article's weighting: the server weighs each hospital's plaintext update by how it differs.

The article says that distribution differences are "weighted and corrected" when gradients are
aggregated, and gives no formula. This is the plainest reading of it: weights by size, discounted by
the distance of the hospital's feature means from their average,

.. math:: a_k \propto \frac{n_k}{1 + \|\bar x_k - \bar x\|}, \qquad
   w \leftarrow w + \sum_k a_k D_k .

- *Source*: the article that describes the system, "Medical-grade bias correction".
- *Crosses the wall*: the update, the number of patients and the means of all features, in clear
  and without noise: statistics of patients that nothing protects.
- *Unit and sensitivity*: none can be stated. The weights follow raw data, and a weight applied
  after the noise scales signal and noise of one hospital against the others' noise.

Kept to be measured and attacked, never chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from aggregation.rules.fedavg import LocalTraining
from aggregation.rules.rule import Contract, ContractUnit

__all__ = ["Article"]


@dataclass(frozen=True)
class Article(LocalTraining):
    """Local training whose weights follow the hospitals' own statistics."""

    contract = Contract(
        "article",
        "the article, 'Medical-grade bias correction'; the formula is a reading of it",
        ContractUnit.UNPROTECTED,
        "the update, the number of patients and the means of all features, all in clear",
        opens_each=True,
    )

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        sizes: Int[np.ndarray, "hospitals"],
        means: Float[np.ndarray, "hospitals features"],
    ) -> "Article":
        """Return the rule with the weights that the server derives; they sum to 1."""
        centre = np.average(means, axis=0, weights=sizes)
        raw = sizes / (1 + np.linalg.norm(means - centre, axis=1))
        weights = (raw / raw.sum()).tolist()
        return cls(dict(zip(names, weights, strict=True)))
