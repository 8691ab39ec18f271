"""``inpatient predict``: a table of risks, and a local check that stays in the hospital."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from aggregation.data.patients import Patients
    from aggregation.trained import Trained

__all__ = ["Predict"]

_DRIFTED = 3  # columns that are named


@dataclass(frozen=True)
class Predict:
    """Predict a hospital's own patients with a model that a run handed out.

    The table is read by the hospital's own mapping. Risks go to a file that its owner alone may
    read; the check of ranking, calibration and drift is printed and sent nowhere. Any of these
    numbers that leaves the hospital is a release of its own.
    """

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """The folder 'model' that a run wrote."""
    table: Annotated[Positional[Path], arg(metavar="TABLE")]
    """The hospital's table.toml (docs/own-data.md)."""
    risks: Path = Path("risks.csv")
    """Where the risks go; a file that is there is never overwritten."""
    module: Path | None = None
    """The file of a torch module that you have read and trust; not needed for a shipped one."""
    json: bool = False
    """Print the check as JSON instead of a table."""

    def run(self) -> int:
        """Read the model and the table, write the risks, print the check."""
        import json

        from aggregation.data.tables import read_table
        from aggregation.trained import Trained
        from privacy.errors import InvalidInputError
        from privacy.files import create_durably

        trained = Trained.read(self.model)
        if self.module is not None:
            from aggregation.models.torch_source import approve

            approve(self.module)
        patients = read_table(self.table, trained.schema)
        risks = trained.risks(patients)
        named = zip(patients.ids.tolist(), risks.tolist(), strict=True)
        text = "id,risk\n" + "".join(f"{patient},{risk!r}\n" for patient, risk in named)
        try:
            create_durably(self.risks, text.encode(), mode=0o600)
        except FileExistsError as error:
            raise InvalidInputError(
                f"{self.risks} is there already, and predictions are never overwritten. Choose "
                "another file with --risks."
            ) from error
        check = _check(trained, patients)
        if self.json:
            print(json.dumps(check, sort_keys=True))
        else:
            _print(check, self.risks)
        return 0


def _check(trained: "Trained", patients: "Patients") -> "dict[str, Any]":
    import numpy as np

    from experiments.evaluation import Scored, auc, calibration

    check: dict[str, Any] = {"patients": len(patients), "run": trained.run}
    ill = int(patients.outcomes.sum())
    if 0 < ill < len(patients):
        scores = trained.model.scores(trained.params, patients.features, slots=patients.slots)
        site = Scored(scores, patients.outcomes)
        fit = calibration(site)
        check |= {
            "with the outcome": ill,
            "AUC": auc({"here": site}),
            "expected over observed": fit.expected_over_observed,
        }
        for name, value in (("in the large", fit.in_the_large), ("slope", fit.slope)):
            if value is not None:  # none where the scores part the outcomes
                check[f"calibration {name}"] = value.value
    if len(patients):
        # In public standard deviations from the schema's public mean; 0 and 1 of yes or no.
        means, binary = patients.features.mean(axis=0), trained.schema.binary
        apart = np.where(binary, 0.0, np.abs(means))
        most = [int(k) for k in np.argsort(-apart)[:_DRIFTED] if apart[k] > 0]
        check["drift"] = {trained.schema.names[k]: float(means[k]) for k in most}
    return check


def _print(check: "dict[str, Any]", risks: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{check['patients']} risks by run {check['run']} in {risks}")
    table.add_column("local check, stays here")
    table.add_column("value", justify="right")
    for name, value in check.items():
        if name not in ("patients", "run", "drift"):
            table.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value))
    if "AUC" not in check:
        table.add_row("ranking and calibration", "all outcomes are alike")
    for name, mean in check.get("drift", {}).items():
        table.add_row(f"mean of {name}, in public SDs from the public mean", f"{mean:+.2f}")
    Console().print(table)
