"""``inpatient cohort``: hospitals' own tables, checked before anything is trained on them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg, subcommand

__all__ = ["CohortCommand"]


@dataclass(frozen=True)
class CheckCohort:
    """Counts, ranges, missing values and all that is wrong; never a patient."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """The ``cohort.toml``."""
    json: bool = False
    """Print the report as JSON instead of tables."""

    def run(self) -> int:
        """Read every table; 0 if nothing is wrong, 2 otherwise."""
        import json

        from aggregation.data.survey import survey_cohort

        report = survey_cohort(self.file)
        if self.json:
            print(json.dumps(report, sort_keys=True))
        else:
            _show(report)
        return 2 if report["problems"] else 0


@dataclass(frozen=True)
class Init:
    """Write a first schema.toml, table.toml and cohort.toml for a CSV or Parquet table, to edit."""

    table: Annotated[Positional[Path], arg(metavar="TABLE")]
    """The table."""

    def run(self) -> int:
        """Write the files beside the table; none is ever overwritten."""
        from aggregation.data.draft import draft
        from privacy.errors import InvalidInputError

        drafted = draft(self.table)
        site = self.table.stem
        texts = {
            "schema.toml": drafted.schema,
            f"{site}.toml": drafted.table,
            "cohort.toml": (
                'schema = "schema.toml"\n\n[sites]                 # one line a hospital\n'
                f'"{site}" = "{site}.toml"\n'
            ),
        }
        paths = {self.table.parent / name: text for name, text in texts.items()}
        there = [str(path) for path in paths if path.exists()]
        if there:
            raise InvalidInputError(
                f"{', '.join(there)} would be overwritten; move it away first. Nothing was written."
            )
        try:
            for path, text in paths.items():
                with path.open("x", encoding="utf-8") as file:
                    file.write(text)
        except OSError as error:
            raise InvalidInputError(f"Can't write {path}: {error.strerror}.") from error
        print(f"Written: {', '.join(str(path) for path in paths)}.")
        print("Fill in each ? in schema.toml from the literature, then: inpatient cohort check "
              f"{self.table.parent / 'cohort.toml'}")  # fmt: skip
        return 0


@dataclass(frozen=True)
class CohortCommand:
    """A hospital's own tables: check them, or begin their files."""

    command: Annotated[
        Union[  # noqa: UP007 - annotated members, one subcommand each
            Annotated[CheckCohort, subcommand("check")],
            Annotated[Init, subcommand("init")],
        ],
        OmitSubcommandPrefixes,
        OmitArgPrefixes,
    ]

    def run(self) -> int:
        """Run the chosen command."""
        return self.command.run()


def _show(report: "dict[str, Any]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    sites = Table(title=f"{report['name']}: {report['outcome']}", title_justify="left")
    for heading in ("hospital", "patients", "with", "without", "left out", "scored"):
        sites.add_column(heading, justify="left" if heading == "hospital" else "right")
    for site in report["sites"]:
        sites.add_row(escape(site["name"]), *(str(site[k]) for k in (
            "patients", "with_outcome", "without_outcome", "left_out", "scored")))  # fmt: skip
    console.print(sites)
    fields = Table(title="Fields, all hospitals", title_justify="left")
    for heading in ("field", "unit", "allowed", "5 % to 95 %", "missing"):
        fields.add_column(heading, justify="left" if heading in ("field", "unit") else "right")
    for one in report["fields"]:
        fields.add_row(*(escape(str(one[k])) for k in (
            "name", "unit", "allowed", "central", "missing")))  # fmt: skip
    console.print(fields)
    for problem in report["problems"]:
        console.print(f"WRONG: {problem}", markup=False, highlight=False)
    for hint in report["hints"]:
        console.print(f"NOTE: {hint}", markup=False, highlight=False)
    if not report["problems"]:
        console.print("Nothing is wrong. Counts below five are masked: courtesy, not privacy.")
