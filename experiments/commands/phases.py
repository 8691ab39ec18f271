"""``inpatient account PHASES.toml``: what a whole training cost, phase by phase and in all."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dp_accounting import DpEvent, NeighboringRelation

__all__ = ["event_of_phases", "report_phases", "show_phases", "show_plot", "show_risks"]


def report_phases(
    path: Path,
    *,
    delta: float,
    risks: "Callable[[DpEvent, NeighboringRelation], dict[str, Any]]",
) -> dict[str, Any]:
    """Return what the spending in a file cost, as plain JSON (infinite values as null).

    Bare claims are added as they stand (basic composition): their deltas are taken from ``delta``.

    Args:
      path: As ``privacy.ledger.spending`` reads it.
      delta: Of the total.
      risks: Of all releases together, where nothing is a bare claim.

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

    spending = read_spending(path)
    relation = NeighboringRelation[spending.relation]
    claimed = math.fsum(claim.epsilon for claim in spending.claims)
    rest_delta = delta - math.fsum(claim.delta for claim in spending.claims)
    if not rest_delta > 0:
        raise InvalidInputError(
            f"The claims in {path.name} take {delta - rest_delta:g} of delta={delta:g}: "
            "nothing is left for the rest. Ask for a larger --delta."
        )
    parts = [(step.to_json()["event"], step.count) for step in spending.schedule]
    rows = []
    for event, count in parts:
        cost = epsilon(from_json(composed([(event, count)])), delta=delta, relation=relation)
        rows.append({"what": f"{count} x {event_words(event)}", "upper": _finite(cost.upper)})
    rows += [
        {"what": f"claimed at delta {claim.delta:g}", "upper": _finite(claim.epsilon)}
        for claim in spending.claims
    ]
    report: dict[str, Any] = {
        "config": {"phases": path.name, "delta": delta, "relation": spending.relation},
        "evidence": spending.evidence,
        "phases": rows,
        "lower": 0.0,
        "upper": _finite(claimed),
        "risks": None,
    }
    if parts:
        event = from_json(composed(parts))
        interval = epsilon(event, delta=rest_delta, relation=relation)
        report |= {"lower": _finite(interval.lower), "upper": _finite(interval.upper + claimed)}
        if not spending.claims:
            report["risks"] = risks(event, relation)
    return report


def event_of_phases(path: Path) -> "tuple[DpEvent, NeighboringRelation]":
    """Return all releases of a file as one event, and the relation that it names.

    Raises:
      InvalidInputError: The file breaks a rule, or holds a bare claim, which has no curve.
      CorruptMessageError: It is missing or not of its format.
    """
    from dp_accounting import NeighboringRelation

    from privacy.accounting.events import from_json
    from privacy.errors import InvalidInputError
    from privacy.ledger.accountant import composed
    from privacy.ledger.spending import read_spending

    spending = read_spending(path)
    if spending.claims:
        raise InvalidInputError(
            f"{path.name} holds a bare claim of epsilon and delta: one point and no curve. Leave "
            "out --plot, or describe what was released."
        )
    parts = [(step.to_json()["event"], step.count) for step in spending.schedule]
    return from_json(composed(parts)), NeighboringRelation[spending.relation]


def show_risks(risks: dict[str, Any]) -> None:
    """Print what an attacker gains, risk by risk, each with its bound."""
    from rich.console import Console
    from rich.table import Table

    prior = risks["prior_success"]
    rows = [
        ("membership: true less false positive rate", f"{risks['membership_advantage']:.3f}"),
        *(
            (f"membership: true positives at {float(false):.1%} false ones", f"{true:.1%}")
            for false, true in risks["membership_true_positives"].items()
        ),
        (
            f"reconstruction, re-identification: right where a blind guess is {prior:.1%}",
            f"{risks['reconstruction_success']:.1%}",
        ),
    ]
    if risks["attribute_success"] is not None:
        rows.append(("the attribute guessed rightly", f"{risks['attribute_success']:.1%}"))
    if risks["targets"] > 1:
        rows += [
            (f"of {risks['targets']} targets named, on average", f"{risks['targets_named']:.2f}"),
            ("any of them named", f"{risks['any_target_named']:.1%}"),
        ]
    table = Table(title="What any attacker reaches")
    table.add_column("risk")
    table.add_column("at most", justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def show_plot(report: dict[str, Any]) -> None:
    """Name the figure, if one was drawn."""
    if report.get("plot"):
        print(f"Curve: {' and '.join(report['plot'])}")


def show_phases(report: dict[str, Any]) -> None:
    """Print a table, and what an attacker gains."""
    from rich.console import Console
    from rich.table import Table

    config = report["config"]
    table = Table(title=f"{config['phases']}: epsilon at delta {config['delta']:g}")
    table.add_column("what")
    table.add_column("epsilon at most", justify="right")
    for row in [*report["phases"], {"what": "all together", "upper": report["upper"]}]:
        upper = row["upper"]
        table.add_row(row["what"], "no bound" if upper is None else f"{upper:.4g}")
    Console().print(table)
    print(
        f"Under {config['relation']}, if patients were drawn as the file says: no file shows that. "
        'Batches that were shuffled and not drawn cost more; say so (sampler = "shuffled").'
    )
    if report["risks"] is not None:
        show_risks(report["risks"])
    show_plot(report)


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None
