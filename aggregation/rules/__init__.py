"""Rules that correct the bias between hospitals, or serve hospitals at their own pace.

All obey one contract: a hospital emits one clipped, pre-weighted, noised vector, the server sees
only sums, and every statistic that leaves a hospital is a release. ``RULES`` has for each the class
whose ``contract`` says where it comes from, what it sends and whom its sensitivity protects.

A new rule is one module with a frozen dataclass that derives from ``Rule`` and has a ``contract``:
with that it is in ``RULES``, and ``Federation`` runs it.
"""

from aggregation.registry import Registry
from aggregation.rules.agnostic import Agnostic
from aggregation.rules.article import Article
from aggregation.rules.bounded_influence import BoundedInfluence
from aggregation.rules.buffered import Buffered, FedAsync, Memory, corrected, fedbuff
from aggregation.rules.fedavg import FedAvg, FedSGD, LocalTraining
from aggregation.rules.feddyn import FedDyn
from aggregation.rules.fednova import FedNova
from aggregation.rules.fedprox import FedProx
from aggregation.rules.importance import Importance
from aggregation.rules.local_fit import SHIFT_STRENGTHS, STRENGTHS, LocalFit, LocalForm, fit_locally
from aggregation.rules.local_intercept import LocalIntercept, fit_intercept
from aggregation.rules.local_recalibration import LocalRecalibration, recalibrate
from aggregation.rules.logit_adjustment import LogitAdjustment
from aggregation.rules.qffl import QFFL
from aggregation.rules.rule import Call, Contract, ContractUnit, Local, Opened, Rule, walk
from aggregation.rules.scaffold import Scaffold
from aggregation.rules.server_optimizers import ServerOptimizer

__all__ = [
    "QFFL",
    "RULES",
    "SHIFT_STRENGTHS",
    "STRENGTHS",
    "Agnostic",
    "Article",
    "BoundedInfluence",
    "Buffered",
    "Call",
    "Contract",
    "ContractUnit",
    "FedAsync",
    "FedAvg",
    "FedDyn",
    "FedNova",
    "FedProx",
    "FedSGD",
    "Importance",
    "Local",
    "LocalFit",
    "LocalForm",
    "LocalIntercept",
    "LocalRecalibration",
    "LocalTraining",
    "LogitAdjustment",
    "Memory",
    "Opened",
    "Rule",
    "Scaffold",
    "ServerOptimizer",
    "corrected",
    "fedbuff",
    "fit_intercept",
    "fit_locally",
    "recalibrate",
    "walk",
]

RULES: Registry[type[Rule]] = Rule.registered
RULES.mark_built_in()
