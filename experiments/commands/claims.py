"""``inpatient claims``: each claim of the article against an experiment."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.commands.base import StudyCommand

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.run.record import Record
    from experiments.run.study import GridPoint
    from experiments.studies.judged_claims import Subject

__all__ = ["Claims"]


@dataclass(frozen=True, kw_only=True)
class Claims(StudyCommand):
    """Hold each claim of the article against an experiment: verdict, effect, interval."""

    out: Path = Path("results/claims")
    """Folder for records, claims.json and claims.md; what is there already is kept."""
    only: tuple[str, ...] = ()
    """Only these claims, by their short names ("raw bytes", "threefold", ...)."""
    seed: int = 0
    """The experiment's seed: folds, networks, noise; never a patient's protection."""
    cohort: str = "heart"
    """Whose patients: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""

    def check(self) -> None:
        """Refuse names of no claim."""
        from experiments.studies import judged_claims
        from privacy.errors import InvalidInputError

        super().check()
        names = [claim.key for claim in judged_claims.CLAIMS]
        unknown = sorted(set(self.only) - set(names))
        if unknown:
            raise InvalidInputError(f"Unknown claims {unknown}; choose among {names}.")

    def points(self) -> "tuple[Sequence[GridPoint], Path | None]":
        """What the chosen claims rest on."""
        from experiments.studies import judged_claims

        subject, data_dir = self._subject()
        return judged_claims.points(subject, only=self.only), data_dir

    def _subject(self) -> "tuple[Subject, Path | None]":
        """On whom the claims are tested, and where the tables lie."""
        from experiments.cohorts import load, resolve
        from experiments.studies.equivalent_heart import judged
        from experiments.studies.judged_claims import Subject

        cohort, data_dir = resolve(self.cohort, self.data_dir)
        return Subject(self.seed, cohort, judged(load(cohort, data_dir).hospitals)), data_dir

    def show(self, records: "Sequence[Record]", console: "Console") -> None:
        """Judge every claim, write the findings, print them."""
        import json
        from dataclasses import asdict

        from rich.table import Table

        from experiments.run.record import write_new
        from experiments.studies import judged_claims

        findings = judged_claims.evaluate(
            {r.name: r for r in records}, self._subject()[0], only=self.only
        )
        plain = [asdict(finding) for finding in findings]
        findings_json = json.dumps(plain, sort_keys=True, indent=1)
        paths = write_new(
            (self.out / "claims.json", f"{findings_json}\n".encode()),
            (self.out / "claims.md", f"{judged_claims.markdown(findings)}\n".encode()),
        )
        if self.json:
            print(json.dumps(plain, sort_keys=True))
            return
        table = Table(title="Claims of the article", title_justify="left")
        for heading in ("claim", "verdict", "effect", "why, or if what"):
            table.add_column(heading)
        for finding in findings:
            table.add_row(
                finding.sentence.en, finding.verdict, finding.measured, finding.condition.en
            )
        console.print(table)
        console.print(f"Findings: {' and '.join(str(p) for p in paths)}.")
