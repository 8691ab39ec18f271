"""The auditor's page, and the form of the evidence that upper layers hand to it."""

from privacy.report.evidence_file import (
    AttackResult,
    AuditResult,
    EvaluationResult,
    ReportedEvidence,
    load_evidence,
    save_evidence,
)
from privacy.report.meant import Meant, Participation, meant_by
from privacy.report.page import strings, write_report

__all__ = [
    "AttackResult",
    "AuditResult",
    "EvaluationResult",
    "Meant",
    "Participation",
    "ReportedEvidence",
    "load_evidence",
    "meant_by",
    "save_evidence",
    "strings",
    "write_report",
]
