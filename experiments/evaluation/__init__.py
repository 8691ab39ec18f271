"""Figures that a clinician and an auditor accept, each with its interval."""

from experiments.evaluation.acceptance import AcceptanceCheck, acceptance
from experiments.evaluation.bands import bands, tells_bands
from experiments.evaluation.calibration_slopes import (
    Calibration,
    Reliability,
    brier,
    calibration,
    chance_ece,
    reliability,
)
from experiments.evaluation.clinical import NetBenefit, net_benefit, sensitivity_at
from experiments.evaluation.discrimination import (
    auc,
    auc_draws,
    bootstrap_auc,
    bootstrap_difference,
    bootstrap_runs,
    delong,
)
from experiments.evaluation.scored import POOLED, Estimate, Scored, by_patient, join, pool

__all__ = [
    "POOLED",
    "AcceptanceCheck",
    "Calibration",
    "Estimate",
    "NetBenefit",
    "Reliability",
    "Scored",
    "acceptance",
    "auc",
    "auc_draws",
    "bands",
    "bootstrap_auc",
    "bootstrap_difference",
    "bootstrap_runs",
    "brier",
    "by_patient",
    "calibration",
    "chance_ece",
    "delong",
    "join",
    "net_benefit",
    "pool",
    "reliability",
    "sensitivity_at",
    "tells_bands",
]
