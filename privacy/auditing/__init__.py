"""Attacks on a claim: lower bounds on epsilon that refute it, or the power that was lacking."""

from privacy.auditing.distinguish import distinguish, scale_epsilon
from privacy.auditing.one_run import (
    Audit,
    audit,
    ceiling,
    epsilon_lower_bound,
    gaussian_lower_bound,
    split_lower_bound,
)

__all__ = [
    "Audit",
    "audit",
    "ceiling",
    "distinguish",
    "epsilon_lower_bound",
    "gaussian_lower_bound",
    "scale_epsilon",
    "split_lower_bound",
]
