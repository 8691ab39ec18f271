"""The demo: the quick frontier, then one real federation whose ledgers are verified.

The frontier tells what each design gives away and what it gains; the federation shows the design
that we would defend at work: sealed sums, noise from the operating system, a durable ledger at each
hospital, a page for the auditor.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.panel import Panel

from experiments.cohorts import Cohort, load, resolve
from experiments.federate import Wanted, deploy, settle
from experiments.run.plots import save
from experiments.run.record import writable_folder
from experiments.run.sweep import sweep
from experiments.run.text import epsilon, nearest, signed, up
from experiments.studies.design import Design, Regime
from experiments.studies.frontier import overview as frontier
from experiments.studies.frontier.grid import on_cohort, quick_grid
from experiments.studies.frontier.own_pace import AttackedPoint
from experiments.studies.frontier.risks import NOT_TRIED, FrontierResult, read_frontier, risk_of
from experiments.studies.lineups import INFORMED
from experiments.studies.words import COMMA, DESIGNS, MODELS, REGIMES
from privacy.ledger import load_trust
from privacy.report import AttackResult, save_evidence, write_report

__all__ = ["findings", "run"]

EPSILON = 1.0


def run(
    out: Path,
    *,
    seed: int,
    jobs: int,
    data_dir: Path | None,
    cohort: str = "heart",
    ledgers: Path | None = None,
    evaluate: float | None = None,
    held_out: float = 0.2,
) -> int:
    """Run the demo into ``out``; 0 if the ledgers were verified.

    Args:
      out: Folder for all that is written.
      seed: The frontier's.
      jobs: Worker processes; -1 takes every core.
      data_dir: Folder with a named cohort's original files.
      cohort: A cohort's name, or the path of a ``cohort.toml``.
      ledgers: Folder of ledgers that outlive the run (``StandingLedgers``); None: new ones in
        ``out``, whose budget begins with them.
      evaluate: Epsilon of an evaluation round, within the whole of 1; None: no such round.
      held_out: Fraction of patients that the round counts and the training never reads.
    """
    console = Console()
    name, data_dir = resolve(cohort, data_dir)
    patients = load(name, data_dir)
    settle(writable_folder(out), console)
    console.print(
        f"[bold]1/2[/] Ten points: each is cross-validated on {len(patients.hospitals)} hospitals, "
        "and attacked."
    )
    points = on_cohort(quick_grid(seed), name)
    records = sweep(out, points, jobs=jobs, data_dir=data_dir, console=console)
    results = read_frontier(records)
    figure, _ = save(frontier.overview(records), writable_folder(out / "figures") / "frontier")
    console.print(*frontier.tables(records), frontier.LEGEND)
    console.print(
        f"[bold]2/2[/] One federation at epsilon {EPSILON:g} with real noise and durable ledgers."
    )
    deploy(out, patients, console, Wanted(EPSILON, evaluate=evaluate, held_out=held_out), ledgers)
    save_evidence(_evidence_folder(out) / "frontier.json", evidence(results))
    trust = load_trust(out / "trust.json")
    verdict, pages = write_report(out, trust=trust, out=out / "report", ledgers=ledgers)
    for finding in verdict.findings:
        console.print(str(finding), markup=False, highlight=False)
    console.print(Panel(findings(results, figure, pages, patients), title="What was found"))
    return verdict.status


def evidence(results: Sequence[FrontierResult]) -> list[AttackResult]:
    """What the frontier measured, in the form that the auditor's page reads."""
    return [
        AttackResult(
            adversary=INFORMED if name == INFORMED else result.metrics.adversary,
            attack=name,
            trials=risk.targets,
            success=risk.value,
            lower=min(risk.lower, risk.value),
            upper=max(risk.upper, risk.value),
            confidence=0.95,
            baseline=result.metrics.prior_success,
            bound=result.metrics.bound,
            design=_design(result.point, "en"),
            design_zh=_design(result.point, "zh"),
            same_design=_deployed(result.point),
        )
        for result in results
        for name, risk in result.metrics.risks.items()
    ]


def findings(
    results: Sequence[FrontierResult], figure: Path, pages: Sequence[Path], cohort: Cohort
) -> str:
    """Say in plain words what was found, by which adversary, and what few hospitals can't show."""
    by_point = {(r.point.regime, r.point.design, r.point.epsilon): r for r in results}
    small, full = Regime.SMALL, Regime.FULL
    bare, sealed = by_point[small, Design.NONE, None], by_point[small, Design.SEALED, EPSILON]
    article = by_point[small, Design.ARTICLE, EPSILON]
    full_bare, full_local = by_point[full, Design.NONE, None], by_point[full, Design.LOCAL, EPSILON]
    full_sealed = by_point[full, Design.SEALED, EPSILON]
    before, after = full_bare.metrics.auc_within, full_sealed.metrics.auc_within
    gain = after.value - full_local.metrics.auc_within.value
    half = max(r.metrics.auc_within.half_width for r in (full_sealed, full_local))
    size = "larger than" if abs(gain) > half else "smaller than"
    bound = 1.0 if sealed.metrics.bound is None else sealed.metrics.bound
    unranked = (
        "; Switzerland has 8 patients without disease, so it is never ranked on"
        if cohort.name == "heart"
        else ""
    )
    return (
        "A risk is how often an adversary names the patient out of ten; guessing gives 10 %.\n\n"
        f"About 8 patients a hospital, no protection: a curious server {_named(bare, 'curious')}; "
        f"who knows all other patients {_named(bare, INFORMED)}. The article's noise: "
        f"{_named(article, 'curious')} and {_named(article, INFORMED)}, at an AUC of "
        f"{nearest(article.metrics.auc_within.value)}; it proves nothing, because its scale "
        f"follows the patients. Sealed sums with shared noise at epsilon {EPSILON:g}: "
        f"{_named(sealed, 'curious')} and {_named(sealed, INFORMED)}, under a bound of "
        f"{up(100 * bound, 0)} % that is proven for both.\n\n"
        f"All patients in every round, no protection: {_named(full_bare, 'curious')} and "
        f"{_named(full_bare, INFORMED)}: how little a server alone can do is no protection. "
        f"Sealed sums at epsilon {EPSILON:g}: {_named(full_sealed, 'curious')} and "
        f"{_named(full_sealed, INFORMED)}, for {nearest(before.value - after.value)} of "
        f"within-site AUC ({nearest(before.value)} to {nearest(after.value)}).\n\n"
        f"What {len(cohort.hospitals)} hospitals can't show: sealing lets hospitals share one "
        "noise, which gains as the square root of their number. Here it gained "
        f"{signed(gain)} of AUC over full noise at each hospital, {size} the half-width of the "
        f"interval ({nearest(half)}){unranked}. TabLeak ran reduced, so a curious server's risk is "
        "what a hurried attacker gets; the bound is the bound.\n\n"
        f"Figure: {figure} (and .png). Auditor's page: {', '.join(str(p) for p in pages)}.\n"
        "The public keys in trust.json come from the same folder here; an auditor gets them apart."
    )


def _named(result: FrontierResult, adversary: str) -> str:
    """The risk in whole percent, with its interval; or that it was not tried."""
    risk = risk_of(result, adversary)
    if risk is None:
        return NOT_TRIED
    value, low, high = (f"{100 * end:.0f}" for end in (risk.value, risk.lower, risk.upper))
    return f"{value} % ({low} to {high})"


def _deployed(point: AttackedPoint) -> bool:
    """Whether a point is of the federation's own design: its plan, but for who is held out."""
    federation_design = (Design.SEALED, EPSILON, Regime.FULL, "logistic")
    return (point.design, point.epsilon, point.regime, point.model) == federation_design


def _design(point: AttackedPoint, language: str) -> str:
    names = (
        DESIGNS[language][point.design],
        REGIMES[language][point.regime],
        MODELS[language][point.model],
        f"ε = {epsilon(point.epsilon)}",
    )
    return COMMA[language].join(names)


def _evidence_folder(out: Path) -> Path:
    folder = out / "evidence"
    folder.mkdir(exist_ok=True)
    return folder
