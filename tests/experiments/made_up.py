"""Whole metrics that no run measured: for tests of what is told and drawn of records."""

from typing import Any

__all__ = ["frontier_metrics", "interval"]


def interval(value: float, half: float = 0.01) -> dict[str, float]:
    return {"value": value, "lower": value - half, "upper": value + half}


def frontier_metrics(**changed: Any) -> dict[str, Any]:
    """A point's metrics; any of them may be given."""
    return {
        "auc_within": interval(0.85),
        "risk": {
            **interval(0.2),
            "attack": "closed_form",
            "targets": 9,
            "batches": 3,
            "exact": 0.0,
        },
        "risks": {"closed_form": interval(0.2)},
        "risks_by_trait": {},
        "bound": None,
        "prior_success": 0.1,
        "adversary": "server_plain",
        "epsilon": None,
        "upload_bytes": 100.0,
        "noise_multiplier": 0.0,
        "radius": 1,
        "dim": 1,
        "brier": 0.1,
        "brier_local_intercept": 0.1,
        "auc_sites": None,
        **changed,
    }
