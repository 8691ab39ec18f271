"""The demo: the quick frontier, then one real federation whose ledgers are verified.

The frontier tells what each design gives away and what it gains; the federation shows the design
that we would defend at work: sealed sums, noise from the operating system, a durable ledger at each
hospital, a page for the auditor.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.panel import Panel

from aggregation.federation import Federation
from aggregation.models import Model
from experiments import frontier
from experiments.cohorts import Cohort, load
from experiments.design import make_plan
from experiments.record import Record, stamp, writable_folder
from experiments.settings import SETTINGS
from privacy.errors import InvalidInputError
from privacy.ledger import load_trust
from privacy.report import AttackResult, save_evidence, write_report

__all__ = ["deploy", "findings", "run"]

EPSILON = 1.0


def run(out: Path, *, seed: int, jobs: int, data_dir: Path | None) -> int:
    """Run the demo into ``out``; 0 if the ledgers were verified."""
    console = Console()
    writable_folder(out)
    console.print(
        "[bold]1/2[/] Ten points: each is cross-validated on four real hospitals, and attacked."
    )
    points = frontier.quick_grid(seed)
    records = frontier.run(out, points, jobs=jobs, data_dir=data_dir, console=console)
    figure, _ = frontier.draw(out, records)
    console.print(*frontier.tables(records), frontier.LEGEND)
    console.print(
        f"[bold]2/2[/] One federation at epsilon {EPSILON:g} with real noise and durable ledgers."
    )
    deploy(out, load("heart", data_dir), console)
    save_evidence(_evidence_folder(out) / "frontier.json", evidence(records))
    verdict, pages = write_report(out, trust=load_trust(out / "trust.json"), out=out / "report")
    for finding in verdict.findings:
        console.print(str(finding), markup=False, highlight=False)
    console.print(Panel(findings(records, figure, pages), title="What was found"))
    return verdict.status


def deploy(out: Path, cohort: Cohort, console: Console) -> None:
    """Run one federation on all patients, or leave the one that ``out`` holds as it is."""
    if (out / "manifest.json").exists():
        console.print("The federation of an earlier run is there already; it is verified again.")
        return
    if (out / "ledgers").exists():
        raise InvalidInputError(
            f"{out} holds the ledgers of a run that was cut short. What they spent stays spent, so "
            "they are never overwritten; choose another folder with --out."
        )
    plan = make_plan(
        run="demo",
        design="sealed",
        epsilon=EPSILON,
        model=Model("logistic", len(cohort.schema)),
        setting=SETTINGS["full", "logistic"],
        patients=cohort.hospitals,
    )
    federation = Federation.real(
        plan,
        cohort.hospitals,
        out=out,
        target_epsilon=EPSILON,
        context={"commit": stamp()["commit"]},
    )
    with console.status("training") as status:
        federation.run(lambda done: status.update(f"round {done} of {plan.rounds}"))
    federation.save(out)
    console.print(
        f"{plan.rounds} rounds; an opened sum wrapped with probability at most "
        f"{max(federation.wrap_probability(), 1e-300):.0e}."
    )


def evidence(records: Sequence[Record]) -> list[AttackResult]:
    """What the frontier measured, in the form that the auditor's page reads."""
    return [
        AttackResult(
            adversary=record.metrics["adversary"],
            attack=name,
            trials=risk["targets"],
            success=risk["value"],
            lower=min(risk["lower"], risk["value"]),
            upper=max(risk["upper"], risk["value"]),
            confidence=0.95,
            baseline=record.metrics["prior_success"],
            bound=record.metrics["bound"],
            design=_design(record),
        )
        for record in records
        for name, risk in record.metrics["risks"].items()
    ]


def findings(records: Sequence[Record], figure: Path, pages: Sequence[Path]) -> str:
    """Say in plain words what was found, and what four hospitals can't show."""
    by_key = {
        (r.config["regime"], r.config["design"], r.config["epsilon"]): r.metrics for r in records
    }
    bare, sealed = by_key["small", "none", None], by_key["small", "sealed", EPSILON]
    article = by_key["small", "article", EPSILON]
    full, full_bare = by_key["full", "sealed", EPSILON], by_key["full", "none", None]
    full_local = by_key["full", "local", EPSILON]
    lost = full_bare["auc_within"]["value"] - full["auc_within"]["value"]
    gain = full["auc_within"]["value"] - full_local["auc_within"]["value"]
    widths = [(m["upper"] - m["lower"]) / 2 for m in (full["auc_within"], full_local["auc_within"])]
    told = "larger than" if abs(gain) > max(widths) else "smaller than"
    return (
        f"Without protection, a server that sees the updates of about 8 patients names the patient "
        f"out of ten in {bare['risk']['value']:.0%} of {bare['risk']['targets']} line-ups (95 % "
        f"interval {bare['risk']['lower']:.0%} to {bare['risk']['upper']:.0%}; guessing 10 %). The "
        f"article's noise brings that to {article['risk']['value']:.0%} at an AUC of "
        f"{article['auc_within']['value']:.3f}, and proves nothing, because its scale follows the "
        f"patients. Sealed sums with shared noise at epsilon {EPSILON:g} give "
        f"{sealed['risk']['value']:.0%} ({sealed['risk']['lower']:.0%} to "
        f"{sealed['risk']['upper']:.0%}), under a proven bound of {sealed['bound']:.0%}.\n\n"
        f"With all patients in every round, epsilon {EPSILON:g} costs {lost:.3f} of within-site "
        f"AUC ({full_bare['auc_within']['value']:.3f} to {full['auc_within']['value']:.3f}).\n\n"
        "What four hospitals can't show: sealing lets hospitals share one noise, which gains as "
        f"the square root of their number. Here it gained {gain:+.3f} of AUC over full noise at "
        f"each hospital, {told} the half-width of the interval ({max(widths):.3f}); Switzerland "
        "has 8 patients without disease, so it is never ranked on. TabLeak ran reduced, so the "
        "measured risks are what a hurried attacker gets, not a bound; the bound is the bound.\n\n"
        f"Figure: {figure} (and .png). Auditor's page: {', '.join(str(p) for p in pages)}.\n"
        "The public keys in trust.json come from the same folder here; an auditor gets them apart."
    )


def _design(record: Record) -> str:
    config = record.config
    epsilon = "inf" if config["epsilon"] is None else f"{config['epsilon']:g}"
    return f"{config['design']}, {config['regime']} {config['model']}, epsilon {epsilon}"


def _evidence_folder(out: Path) -> Path:
    folder = out / "evidence"
    folder.mkdir(exist_ok=True)
    return folder
