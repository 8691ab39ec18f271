"""``inpatient review``: what somebody else's run claims, costs and gives away, by its files."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from experiments.commands.reviewed_updates import attacked
from privacy.unit import Unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy.review import Check, ReviewFile
    from privacy.review.mistakes import Part
    from privacy.review.rendered import AttackedUpdate, TriedAttack

__all__ = ["Review"]

_MOST_DIGESTS = 1_000
_SPENT = ("checkpoint.pt", "phases.toml", "events.json")


@dataclass(frozen=True)
class Review:
    """Review a run of somebody else's: claims, certified cost, usual mistakes, what attacks reach.

    A folder may hold review.toml (what is claimed and told), checkpoint.pt (Opacus), phases.toml or
    events.json (what was spent), updates.json with its weights (Flower, NVFLARE) or before.npz and
    after.npz, and a ledger (*.jsonl). What is not there is said, with the file that would tell.
    Exit status 1 if anything is wrong.
    """

    path: Positional[Path]
    """The folder, or one such file."""
    out: Path = Path("results/review")
    """Folder for review.en.html and review.zh.html."""
    trust: Path | None = None
    """Public keys for a ledger, obtained apart."""
    seconds: float = 60.0
    """For attacks on captured updates, beside the closed form, which takes milliseconds."""
    json: bool = False
    """Print JSON instead of a table."""

    def check(self) -> None:
        """Refuse a time that is none."""
        from privacy._validate import non_negative

        non_negative(seconds=self.seconds)

    def run(self) -> int:
        """Review, write both pages, print."""
        import json

        from privacy.files import make_folder, write_durably
        from privacy.review import Judgement
        from privacy.review.rendered import LANGUAGES, page_of, said

        checks, updates, tried, digests = self.found()
        make_folder(self.out)
        pages = []
        for language in LANGUAGES:
            page = self.out / f"review.{language}.html"
            content = page_of(
                self.path.name,
                checks,
                updates,
                tried,
                digests=digests,
                command=f"inpatient review {self.path.name} --seconds {self.seconds:g}",
                language=language,
            )
            write_durably(page, content.encode())
            pages.append(str(page))
        if self.json:
            report = {
                "checks": [
                    {"name": c.name, "judgement": str(c.judgement), "values": dict(c.values)}
                    | {"said": said(c)}
                    for c in checks
                ],
                "updates": [_plain(update) for update in updates],
                "attacks": [_plain(attack) for attack in tried],
                "files": dict(digests),
                "pages": pages,
            }
            print(json.dumps(report, indent=1, sort_keys=True))
        else:
            _show(self.path.name, checks, updates, tried)
            print(f"Pages: {', '.join(pages)}")
        return int(any(check.judgement is Judgement.WRONG for check in checks))

    def found(
        self,
    ) -> "tuple[list[Check], list[AttackedUpdate], list[TriedAttack], Mapping[str, str]]":
        """Findings, what attacks reached, which were tried, and every file's digest."""
        from privacy._foreign import digest_file
        from privacy.errors import InvalidInputError
        from privacy.review import ReviewFile, examine, read_review

        if not self.path.exists():
            raise InvalidInputError(f"There is nothing to review at {self.path}.")
        files = self._files()
        review_file = read_review(files["review.toml"]) if "review.toml" in files else ReviewFile()
        checks = list(examine(review_file.claim, review_file.training, _parts(files, review_file)))
        ledgers = [path for name, path in files.items() if path.suffix == ".jsonl"]
        checks += [_ledger(path, self.trust) for path in ledgers]
        updates, tried, check = attacked(files, review_file.updates, self.seconds)
        digests = {name: digest_file(path)[1] for name, path in sorted(files.items())}
        if "updates.json" in files:  # the weights that it names lie beside it
            beside = sorted(files["updates.json"].parent.glob("r*.npz"))[:_MOST_DIGESTS]
            digests |= {path.name: digest_file(path)[1] for path in beside}
        return [*checks, check], updates, tried, digests

    def _files(self) -> "dict[str, Path]":
        """What is known of the folder, by the name that it is looked for under."""
        if not self.path.is_dir():
            kinds = {".toml": "phases.toml", ".pt": "checkpoint.pt", ".pth": "checkpoint.pt"}
            kinds |= {".json": "events.json"}
            listed = self.path.name in ("review.toml", "updates.json")
            return {
                self.path.name if listed else kinds.get(self.path.suffix, self.path.name): self.path
            }
        file_names = (*_SPENT, "review.toml", "updates.json", "before.npz", "after.npz")
        files = {name: self.path / name for name in file_names if (self.path / name).is_file()}
        return files | {path.name: path for path in sorted(self.path.glob("*.jsonl"))}


def _parts(files: "Mapping[str, Path]", review_file: "ReviewFile") -> "list[Part]":
    from privacy.ledger.spending import read_spending

    for name in _SPENT:
        if name in files:
            schedule = read_spending(files[name]).schedule
            return [(step.to_json()["event"], step.count) for step in schedule]
    return []


def _ledger(path: Path, trust: Path | None) -> "Check":
    from privacy.ledger import load_trust, verify
    from privacy.ledger.rounding import down, up
    from privacy.review import Check, Judgement

    verdict = verify([path], load_trust(trust) if trust else None)
    if not verdict.ok:
        wrong = [f.reason.rstrip(".") for f in verdict.findings if f.level == "FAIL"]
        said = {"count": str(len(wrong)), "reason": "; ".join(wrong)[:2000]}
        return Check("ledger", Judgement.WRONG, "ledger_wrong", said)
    (reading,) = verdict.readings
    spent = [s for s in reading.spent if s.budget.unit == Unit.PATIENT]
    upper = max((s.interval.upper for s in spent if s.interval), default=0.0)
    values = {
        "entries": str(reading.size),
        "hospital": reading.hospital,
        "spent": up(upper),
        "allowed": down(min((s.budget.epsilon for s in spent), default=0.0)),
    }
    if reading.foreign:
        values["program"] = reading.foreign
        return Check("ledger", Judgement.HOLDS, "ledger_claimed", values)
    return Check("ledger", Judgement.HOLDS, "ledger_holds", values)


def _plain(row: "AttackedUpdate | TriedAttack") -> dict[str, Any]:
    from privacy.review.rendered import remarked

    return {n: v for n, v in vars(row).items() if n != "remarks"} | {"said": remarked(row)}


def _show(
    name: str,
    checks: "list[Check]",
    updates: "list[AttackedUpdate]",
    tried: "list[TriedAttack]",
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from privacy._foreign import printable
    from privacy.review.rendered import answer, remarked, said, strings

    words = strings("en")
    table = Table(title=Text(f"Review of {printable(name)}"))
    for heading in ("question", "answer", "why"):
        table.add_column(words[f"col_{heading}"])
    for check in checks:
        why = Text(printable(said(check)))  # [claim] is no markup
        table.add_row(words[f"name_{check.name}"], answer(check), why)
    Console().print(table)
    for update in updates:
        by = f" ({update.attack})" if update.attack else ""
        print(
            f"{update.client}, round {update.round}: {update.certified} of {update.patients} "
            f"patients proved, {update.read} read{by}. {printable(remarked(update))}".rstrip()
        )
    for attack in tried:
        done = words["tried_none"].lower()
        if attack.tried:
            done = f"tried on {attack.tried} of {attack.updates}"
        print(f"{attack.attack}: {done}. {printable(remarked(attack))}".rstrip())
