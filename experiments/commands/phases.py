"""``inpatient account PHASES.toml``: what a whole training cost, phase by phase and in all."""

from pathlib import Path
from typing import Any

__all__ = ["report_phases", "show_phases"]


def report_phases(path: Path, *, delta: float, prior_success: float) -> dict[str, Any]:
    """Return what the spending in a file cost, as plain JSON (infinite values as null).

    Bare claims are added as they stand (basic composition): their deltas are taken from ``delta``.

    Args:
      path: As ``privacy.ledger.spending`` reads it.
      delta: Of the total.
      prior_success: How often a guess without the releases is right.

    Raises:
      InvalidInputError: The file breaks a rule, or its claims leave no delta.
      CorruptMessageError: It is missing or not of its format.
    """
    import math

    from dp_accounting import NeighboringRelation

    from privacy.accounting import epsilon
    from privacy.accounting.events import from_json
    from privacy.errors import InvalidInputError
    from privacy.ledger.accountant import composed
    from privacy.ledger.audit.show import event_words
    from privacy.ledger.spending import read_spending
    from privacy.reconstruction import success_bound

    found = read_spending(path)
    relation = NeighboringRelation[found.relation]
    claimed = math.fsum(claim.epsilon for claim in found.claims)
    left = delta - math.fsum(claim.delta for claim in found.claims)
    if not left > 0:
        raise InvalidInputError(
            f"The claims in {path.name} take {delta - left:g} of delta={delta:g}: nothing is left "
            "for the rest. Ask for a larger --delta."
        )
    parts = [(step.to_json()["event"], step.count) for step in found.schedule]
    rows = []
    for event, count in parts:
        cost = epsilon(from_json(composed([(event, count)])), delta=delta, relation=relation)
        rows.append({"what": f"{count} x {event_words(event)}", "upper": _finite(cost.upper)})
    rows += [
        {"what": f"claimed at delta {claim.delta:g}", "upper": _finite(claim.epsilon)}
        for claim in found.claims
    ]
    told: dict[str, Any] = {
        "config": {"phases": path.name, "delta": delta, "relation": found.relation},
        "evidence": found.evidence,
        "phases": rows,
        "lower": 0.0,
        "upper": _finite(claimed),
        "prior_success": prior_success,
        "reconstruction_success": None,
    }
    if parts:
        event = from_json(composed(parts))
        interval = epsilon(event, delta=left, relation=relation)
        told |= {"lower": _finite(interval.lower), "upper": _finite(interval.upper + claimed)}
        if not found.claims:
            told["reconstruction_success"] = success_bound(
                event, prior_success=prior_success, relation=relation
            )
    return told


def show_phases(found: dict[str, Any]) -> None:
    """Print a table, and what an attacker gains."""
    from rich.console import Console
    from rich.table import Table

    config = found["config"]
    table = Table(title=f"{config['phases']}: epsilon at delta {config['delta']:g}")
    table.add_column("what")
    table.add_column("epsilon at most", justify="right")
    for row in [*found["phases"], {"what": "all together", "upper": found["upper"]}]:
        upper = row["upper"]
        table.add_row(row["what"], "no bound" if upper is None else f"{upper:.4g}")
    Console().print(table)
    print(
        f"Under {config['relation']}, if patients were drawn as the file says: no file shows that. "
        'Batches that were shuffled and not drawn cost more; say so (sampler = "shuffled").'
    )
    if found["reconstruction_success"] is not None:
        print(
            f"Reconstruction: at most {found['reconstruction_success']:.1%} of the time, where "
            f"guessing succeeds {found['prior_success']:.1%}."
        )


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None
