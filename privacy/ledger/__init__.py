"""The budget ledger: what was released, who allowed it, and what anyone can check years later.

Release nothing without an entry; store events, never just epsilon; let others counter-sign, so
that nobody can rewrite the past alone.
"""

from privacy.ledger.accountant import Accountant, Cost
from privacy.ledger.audit.manifest import Manifest
from privacy.ledger.audit.verify import Verdict, verify
from privacy.ledger.ledger import Ledger
from privacy.ledger.log.entries import Entry
from privacy.ledger.log.heads import Head
from privacy.ledger.log.keys import SigningKey, load_trust, save_trust
from privacy.ledger.requests import Budget, Planned, Release
from privacy.ledger.witness import close

__all__ = [
    "Accountant",
    "Budget",
    "Cost",
    "Entry",
    "Head",
    "Ledger",
    "Manifest",
    "Planned",
    "Release",
    "SigningKey",
    "Verdict",
    "close",
    "load_trust",
    "save_trust",
    "verify",
]
