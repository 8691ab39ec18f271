"""Rules that correct the bias between hospitals, one module a rule.

All obey one contract: a hospital emits one clipped, pre-weighted, noised vector, the server sees
only sums, and every statistic that leaves a hospital is a release. ``RULES`` says for each rule
where it comes from, what it sends and whom its sensitivity protects.

A new rule is one module with its functions and its ``Contract``, and one line in ``RULES``.
"""

from collections.abc import Mapping

from aggregation.correction.agnostic import AGNOSTIC
from aggregation.correction.article import ARTICLE
from aggregation.correction.contract import Contract, bounded, walk
from aggregation.correction.fedavg import FEDAVG, FEDSGD
from aggregation.correction.feddyn import FEDDYN
from aggregation.correction.fednova import FEDNOVA
from aggregation.correction.fedprox import FEDPROX
from aggregation.correction.importance import IMPORTANCE
from aggregation.correction.local_intercept import LOCAL_INTERCEPT, fit_intercept
from aggregation.correction.local_recalibration import LOCAL_RECALIBRATION, recalibrate
from aggregation.correction.logit_adjustment import LOGIT_ADJUSTMENT
from aggregation.correction.poor_labels import BOUNDED_INFLUENCE
from aggregation.correction.qffl import QFFL
from aggregation.correction.scaffold import SCAFFOLD
from aggregation.correction.server_optimizers import SERVER_OPTIMIZERS

__all__ = ["RULES", "Contract", "bounded", "fit_intercept", "recalibrate", "walk"]

RULES: Mapping[str, Contract] = {
    rule.name: rule
    for rule in (
        FEDSGD,
        FEDAVG,
        FEDPROX,
        SCAFFOLD,
        FEDNOVA,
        FEDDYN,
        QFFL,
        AGNOSTIC,
        IMPORTANCE,
        LOGIT_ADJUSTMENT,
        BOUNDED_INFLUENCE,
        SERVER_OPTIMIZERS,
        LOCAL_INTERCEPT,
        LOCAL_RECALIBRATION,
        ARTICLE,
    )
}
