"""The auditor's page, and the form of the evidence that upper layers hand to it."""

from privacy.report.evidence import (
    AttackResult,
    AuditResult,
    EvaluationResult,
    Evidence,
    load_evidence,
    save_evidence,
)
from privacy.report.page import write_report

__all__ = [
    "AttackResult",
    "AuditResult",
    "EvaluationResult",
    "Evidence",
    "load_evidence",
    "save_evidence",
    "write_report",
]
