"""``inpatient ledger``: read, verify, prove, report, export, enter and abandon."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg, subcommand

__all__ = ["Abandon", "Enter", "Export", "LedgerCommand", "Prove", "Report", "Show", "Verify"]


@dataclass(frozen=True)
class Verify:
    """Check ledgers, and what left the hospitals against them; offline, from files and public keys.

    Prints one line a finding. Exit status 0: verified; 1: something failed; 3: nothing failed, but
    without trusted keys nothing anchors it.
    """

    paths: Positional[tuple[Path, ...]]
    """Ledgers (*.jsonl), manifests (*.json), or folders of runs, of sites (or the folder in which
    the sites' lie), and of standing ledgers."""
    trust: Path | None = None
    """Public keys of the hospitals, obtained apart from the files."""
    json: bool = False
    """Print the verdict as JSON."""

    def run(self) -> int:
        """Verify and print."""
        from privacy.ledger import load_trust, verify

        verdict = verify(self.paths, load_trust(self.trust) if self.trust else None)
        if self.json:
            print_json(verdict.to_json())
        else:
            for finding in verdict.findings:
                print(finding)
        return verdict.status


@dataclass(frozen=True)
class Show:
    """Print a ledger as a table."""

    path: Positional[Path]
    """The ledger (*.jsonl)."""
    json: bool = False
    """Print one JSON object a line instead."""

    def run(self) -> int:
        """Print; nothing is verified."""
        from privacy.ledger.audit.show import rows, table

        if self.json:
            for row in rows(self.path):
                print_json(row)
        else:
            from rich.console import Console

            Console().print(table(self.path))
            print("Nothing was verified here: that is `inpatient ledger verify`.")
        return 0


@dataclass(frozen=True)
class Prove:
    """Print a proof that an entry stands in a ledger, without showing any other entry.

    With --since: a proof that the ledger still begins with its first entries.
    """

    path: Positional[Path]
    """The ledger (*.jsonl)."""
    entry: int | None = None
    """Number of the entry, from 0."""
    since: int | None = None
    """Size of an earlier state of the ledger."""
    size: int | None = None
    """Size of the state that the proof is for; by default the last counter-signed one."""

    def run(self) -> int:
        """Print the proof as JSON."""
        from privacy.ledger.audit.prove import prove

        print_json(prove(self.path, entry=self.entry, since=self.since, size=self.size))
        return 0


@dataclass(frozen=True)
class Report:
    """Write the auditor's page, in English and in Chinese, from a run's folder."""

    path: Positional[Path]
    """Folder of a run, with ledgers/, and what else there is: manifest.json, evidence/; or one
    in which the sites' folders lie."""
    trust: Path | None = None
    """Public keys of the hospitals, obtained apart from the files."""
    out: Path | None = None
    """Where report.en.html and report.zh.html go; by default the run's folder."""
    ledgers: Path | None = None
    """Folder of the ledgers that the run spent from, where they stand outside its own."""

    def run(self) -> int:
        """Verify, write both pages, print where they are."""
        from privacy.ledger import load_trust
        from privacy.report import write_report

        trust = load_trust(self.trust) if self.trust else None
        out = self.out or self.path
        before = {p: p.read_bytes() for p in out.glob("report.*.html")} if out.is_dir() else {}
        verdict, pages = write_report(self.path, trust=trust, out=out, ledgers=self.ledgers)
        for page in pages:
            changed = page in before and before[page] != page.read_bytes()
            print(f"{page}{' (an earlier page of other content was replaced)' if changed else ''}")
        return verdict.status


@dataclass(frozen=True)
class Abandon:
    """Give up a plan whose run is dead: its places left are forfeited, and what they cost is freed.

    Freed only where that is sound; the answer says by which rule. The hospital that holds the key
    decides alone, and the entry stays in its ledger.
    """

    path: Positional[Path]
    """The ledger (*.jsonl)."""
    key: Path
    """The hospital's private key."""
    reason: str
    """Why, in a sentence for the auditor."""
    plan: str = ""
    """Digest of the plan, or how it begins; not needed where one plan alone has places left."""

    def run(self) -> int:
        """Abandon the plan, print the entry."""
        from privacy.errors import InvalidInputError
        from privacy.ledger import Ledger, SigningKey
        from privacy.ledger.audit.show import describe

        ledger = Ledger.open(self.path, key=SigningKey.load(self.key))
        digests = [digest for digest in ledger.unfinished if digest.startswith(self.plan)]
        if len(digests) != 1:
            raise InvalidInputError(
                f"Expected --plan to name one of the plans with places left: "
                f"{', '.join(ledger.unfinished) or 'there is none'}."
            )
        print(describe(ledger.abandon(digests[0], reason=self.reason)))
        return 0


@dataclass(frozen=True)
class Enter:
    """Enter what was spent elsewhere about the same patients: another training, another platform.

    It always counts, also past the budget; then nothing is released any more. Nothing takes it
    back: a correction (--corrects) is what the earlier entry left out.
    """

    path: Positional[Path]
    """The ledger (*.jsonl)."""
    spent: Positional[Path]
    """Phases (.toml), events (.json), an Opacus checkpoint (.pt) or an entry of the OpenDP
    deployments registry (.yaml): privacy/ledger/spending.py."""
    key: Path
    """The hospital's private key."""
    operator: str
    """Who enters it, for the auditor."""
    source: str
    """What it was, in a sentence for the auditor."""
    same_patients: bool = False
    """State that it is about the patients of this ledger; without that nothing is entered."""
    corrects: int | None = None
    """Number of the entry of which this was left out."""

    def run(self) -> int:
        """Enter it, print the entry; exit status 1 if the budget is passed now."""
        from privacy.ledger import Ledger, SigningKey
        from privacy.ledger.audit.show import describe
        from privacy.ledger.rounding import up
        from privacy.ledger.spending import read_spending

        spending = read_spending(self.spent)
        ledger = Ledger.open(self.path, key=SigningKey.load(self.key))
        imported = spending.imported(
            self.source,
            self.operator,
            same_patients=self.same_patients,
            corrects=self.corrects,
        )
        print(describe(ledger.enter(imported)))
        passed = ledger.state(imported.unit).passed
        if passed:
            total = up(ledger.state(imported.unit).committed)
            print(
                f"The budget of {ledger.hospital} is passed: nothing is released any more. Epsilon "
                f"{total} is an odometer's running total; no filter guarantees it beforehand."
            )
        return int(passed)


@dataclass(frozen=True)
class Export:
    """Print a ledger as an entry of the OpenDP deployments registry (YAML)."""

    path: Positional[Path]
    """Folder of a run, or a ledger (*.jsonl)."""
    registry: bool = False
    """The registry's form; the only one so far, and to be asked for by name."""

    def run(self) -> int:
        """Print the YAML."""
        from privacy.errors import InvalidInputError
        from privacy.ledger.audit.deployment import deployment

        if not self.registry:
            raise InvalidInputError("Say what to export to: --registry is the only form so far.")
        print(deployment(self.path), end="")
        return 0


@dataclass(frozen=True)
class LedgerCommand:
    """What was released, who allowed it, and what anyone can check years later."""

    action: Annotated[
        Annotated[Verify, subcommand("verify")]
        | Annotated[Show, subcommand("show")]
        | Annotated[Prove, subcommand("prove")]
        | Annotated[Report, subcommand("report")]
        | Annotated[Abandon, subcommand("abandon")]
        | Annotated[Enter, subcommand("enter")]
        | Annotated[Export, subcommand("export")],
        arg(name=""),
        OmitArgPrefixes,
        OmitSubcommandPrefixes,
    ]

    def run(self) -> int:
        """Run the chosen action."""
        return self.action.run()


def print_json(value: object) -> None:
    """Print one JSON value."""
    import json

    print(json.dumps(value))
