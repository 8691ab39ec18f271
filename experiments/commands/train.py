"""``inpatient train``: one real federation, sealed and accounted, and the model that comes out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from experiments.federate import Wanted

__all__ = ["Train"]


@dataclass(frozen=True)
class Train:
    """Train a model on all hospitals of a cohort: sealed sums, real noise, durable ledgers.

    Writes ledgers, transcript, an auditor's page, and OUT/model/ with a card in two languages
    (docs/own-model.md). AUC and calibration are "not measured" without --evaluate: whatever is
    computed from patients and handed out is a release.
    """

    TAKES_REPEATS: ClassVar[bool] = True  # patients may have several records

    out: Path = Path("results/train")
    """Folder for all that is written; a federation that it holds already is left as it is."""
    cohort: str = "heart"
    """Whose patients: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    model: str = "logistic"
    """mlp, logistic, moments (logistic regression from a single opened sum), deep, embedded,
    transformer, or a Python file's factory of a torch module, FILE:FACTORY (docs/own-model.md)."""
    epsilon: float = 1.0
    """Of all that the run releases of a patient, the evaluation included."""
    regime: str = "full"
    """full (all patients in every round) or small (about 8 a hospital)."""
    pass_rounds: int | None = None
    """Rounds of a pass: each patient takes part in exactly one of them, drawn in secret for that
    patient alone (random allocation), in place of the regime's batches."""
    correlated: str = ""
    """Noise correlated over rounds (DP-FTRL), all of it at each hospital: banded:8 (over as many
    rounds), or buffered:0.3/0.8,0.3/0.6 (a scale and a decay of each buffer). With --pass-rounds a
    patient's round is the same in all passes; --regime small alone has no proof, and is refused."""
    evaluate: float | None = None
    """Epsilon of an evaluation round, part of --epsilon: some patients are held out of training and
    counted after it, by score bin and outcome, with noise. More held-out patients tell more."""
    held_out: float = 0.2
    """Fraction of patients that are held out; goes with --evaluate."""
    bins: int = 8
    """Score bins of the evaluation."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""
    ledgers: Path | None = None
    """Folder of the hospitals' ledgers and keys, for all runs on the same patients: what earlier
    runs released counts, and so do the budgets that stand there. By default new ones in --out."""

    def check(self) -> None:
        """Refuse unknown names, a budget that is none, and an evaluation that would cost all."""
        from aggregation.models import check_name
        from privacy._validate import natural

        check_name(self.model)
        natural(bins=self.bins, least=2)
        self._wanted()

    def _wanted(self) -> "Wanted":
        from aggregation.correlation import Correlation
        from experiments.federate import Wanted
        from experiments.studies.design import Regime
        from privacy.errors import InvalidInputError

        if self.regime not in tuple(Regime):
            raise InvalidInputError(f"Unknown regime {self.regime!r}; choose small or full.")
        return Wanted(
            self.epsilon,
            self.model,
            Regime(self.regime),
            evaluate=self.evaluate,
            held_out=self.held_out,
            bins=self.bins,
            pass_rounds=self.pass_rounds,
            correlated=Correlation.parse(self.correlated) if self.correlated else None,
        )

    def run(self) -> int:
        """Train, evaluate, verify; 0 if the ledgers were verified."""
        from rich.console import Console

        from experiments.cohorts import load, resolve
        from experiments.federate import deploy, settle
        from experiments.run.record import writable_folder
        from privacy.ledger import load_trust
        from privacy.report import write_report

        console = Console()
        cohort = load(*resolve(self.cohort, self.data_dir), repeats=True)
        settle(writable_folder(self.out), console)
        deploy(self.out, cohort, console, self._wanted(), self.ledgers)
        trust = load_trust(self.out / "trust.json")
        verdict, pages = write_report(
            self.out, trust=trust, out=self.out / "report", ledgers=self.ledgers
        )
        for finding in verdict.findings:
            console.print(str(finding), markup=False, highlight=False)
        console.print(
            f"Model and cards: {self.out / 'model'}. Auditor's page: "
            f"{', '.join(str(page) for page in pages)}."
        )
        return verdict.status
