"""``inpatient review``: what somebody else's run claims, costs and gives away, by its files."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggregation.capture import RunLog
    from privacy.review import Check, ReviewFile
    from privacy.review.mistakes import Part
    from privacy.review.rendered import AttackedUpdate
    from privacy.review.told import ToldUpdates

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
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        """Review, write both pages, print."""
        import json

        from privacy.files import make_folder, write_durably
        from privacy.review import Judgement
        from privacy.review.rendered import LANGUAGES, page_of, said

        checks, updates, digests = self.found()
        make_folder(self.out)
        pages = []
        for language in LANGUAGES:
            page = self.out / f"review.{language}.html"
            content = page_of(
                self.path.name,
                checks,
                updates,
                digests=digests,
                command=f"inpatient review {self.path.name}",
                language=language,
            )
            write_durably(page, content.encode())
            pages.append(str(page))
        if self.json:
            told = {
                "checks": [
                    {"name": c.name, "judgement": str(c.judgement), "values": dict(c.values)}
                    | {"said": said(c)}
                    for c in checks
                ],
                "updates": [vars(update) for update in updates],
                "files": dict(digests),
                "pages": pages,
            }
            print(json.dumps(told, indent=1, sort_keys=True))
        else:
            _show(self.path.name, checks, updates)
            print(f"Pages: {', '.join(pages)}")
        return int(any(check.judgement is Judgement.WRONG for check in checks))

    def found(self) -> "tuple[list[Check], list[AttackedUpdate], Mapping[str, str]]":
        """Findings, what attacks reached, and the digest of every file that was read."""
        from privacy._foreign import digest_file
        from privacy.errors import InvalidInputError
        from privacy.review import ReviewFile, examine, read_review

        if not self.path.exists():
            raise InvalidInputError(f"There is nothing to review at {self.path}.")
        files = self._files()
        told = read_review(files["review.toml"]) if "review.toml" in files else ReviewFile()
        checks = list(examine(told.claim, told.training, _parts(files, told)))
        ledgers = [path for name, path in files.items() if path.suffix == ".jsonl"]
        checks += [_ledger(path, self.trust) for path in ledgers]
        updates, check = _attacked(files, told.updates, _history(files))
        digests = {name: digest_file(path)[1] for name, path in sorted(files.items())}
        if "updates.json" in files:  # the weights that it names lie beside it
            beside = sorted(files["updates.json"].parent.glob("r*.npz"))[:_MOST_DIGESTS]
            digests |= {path.name: digest_file(path)[1] for path in beside}
        return [*checks, check], updates, digests

    def _files(self) -> "dict[str, Path]":
        """What is known of the folder, by the name that it is looked for under."""
        if not self.path.is_dir():
            kinds = {".toml": "phases.toml", ".pt": "checkpoint.pt", ".pth": "checkpoint.pt"}
            kinds |= {".json": "events.json"}
            own = self.path.name in ("review.toml", "updates.json")
            return {
                self.path.name if own else kinds.get(self.path.suffix, self.path.name): self.path
            }
        known = (*_SPENT, "review.toml", "updates.json", "before.npz", "after.npz")
        found = {name: self.path / name for name in known if (self.path / name).is_file()}
        return found | {path.name: path for path in sorted(self.path.glob("*.jsonl"))}


def _parts(files: "Mapping[str, Path]", told: "ReviewFile") -> "list[Part]":
    from privacy.ledger.spending import read_spending

    for name in _SPENT:
        if name in files:
            schedule = read_spending(files[name]).schedule
            return [(step.to_json()["event"], step.count) for step in schedule]
    return []


def _history(files: "Mapping[str, Path]") -> tuple[tuple[float, float, int], ...]:
    from privacy.ledger.opacus_history import history

    path = files.get("checkpoint.pt")
    return history(path.read_bytes()) if path else ()


def _ledger(path: Path, trust: Path | None) -> "Check":
    from privacy.ledger import load_trust, verify
    from privacy.review import Check, Judgement

    verdict = verify([path], load_trust(trust) if trust else None)
    levels = ("FAIL",) if not verdict.ok else ("OK", "UNANCHORED")
    reason = "; ".join(f.reason.rstrip(".") for f in verdict.findings if f.level in levels)
    judgement = Judgement.HOLDS if verdict.ok else Judgement.WRONG
    return Check("ledger", judgement, f"ledger_{judgement}", {"reason": reason[:2000]})


def _attacked(
    files: "Mapping[str, Path]",
    told: "ToldUpdates",
    history: tuple[tuple[float, float, int], ...],
) -> "tuple[list[AttackedUpdate], Check]":
    """What the exact attack reaches on each captured update."""
    from privacy.errors import InpatientError
    from privacy.review import Check, Judgement

    if "updates.json" not in files and not {"before.npz", "after.npz"} <= set(files):
        return [], Check("updates", Judgement.UNKNOWN, "updates_none", {})
    lacking = [n for n in ("model", "cohort", "learning_rate") if getattr(told, n) is None]
    if lacking:
        reason = f"Captured weights are there; review.toml would tell [updates] {lacking[0]}."
        return [], Check("updates", Judgement.UNKNOWN, "updates_unknown", {"reason": reason})
    try:
        found = _attack(files, told, history)
    except InpatientError as error:
        return [], Check("updates", Judgement.UNKNOWN, "updates_unknown", {"reason": str(error)})
    certified = sum(update.certified for update in found)
    values = {
        "count": str(len(found)),
        "certified": str(certified),
        "read": str(sum(update.read for update in found)),
        "patients": str(sum(update.patients for update in found)),
    }
    judgement = Judgement.WRONG if certified else Judgement.HOLDS
    return found, Check("updates", judgement, f"updates_{judgement}", values)


def _attack(
    files: "Mapping[str, Path]",
    told: "ToldUpdates",
    history: tuple[tuple[float, float, int], ...],
) -> "list[AttackedUpdate]":
    from attacks.exact.closed_form import ClosedForm, expected_patients
    from attacks.knowledge.priors import Prior
    from attacks.views import GradientView, observe, require
    from experiments.cohorts import load, resolve
    from privacy.review.rendered import AttackedUpdate

    cohort = load(*resolve(str(told.cohort), None))
    run = _captured(files, told, history, cohort)
    view = require(observe(run, "server_plain"), GradientView, "closed_form")
    prior, found = Prior.from_schema(cohort.schema), []
    for gradient in view.gradients:
        read = ClosedForm().reconstruct(replace(view, gradients=(gradient,)), prior)
        found.append(
            AttackedUpdate(
                ", ".join(gradient.hospitals),
                gradient.round,
                expected_patients(view.plan, gradient),
                int(read.certified.sum()),
                int((read.confidence > 0.5).sum()),
                " ".join(read.notes),
            )
        )
    return found


def _captured(
    files: "Mapping[str, Path]",
    told: "ToldUpdates",
    history: tuple[tuple[float, float, int], ...],
    cohort: Any,
) -> "RunLog":
    from aggregation.capture import from_flower, from_nvflare, from_opacus, from_weights
    from aggregation.capture.files import read_weights
    from aggregation.models import Inputs, named_model
    from experiments.commands.captured import reach_of
    from privacy._foreign import parse_json, read_file
    from privacy.errors import InvalidInputError

    kind, _, width = str(told.model).partition(":")
    if kind == "mlp" and not width.isdecimal():
        raise InvalidInputError(f"Expected the model mlp:WIDTH or logistic, got {told.model!r}.")
    name = kind if kind == "mlp" else str(told.model)
    model = named_model(name, Inputs.of(cohort.schema), width=int(width or 64), seed=0)
    how: dict[str, Any] = {
        "model": model,
        "learning_rate": told.learning_rate,
        "reach": [reach_of(column) for column in cohort.schema.columns],
    }
    if "updates.json" in files:
        path = files["updates.json"]
        content: Any = parse_json(read_file(path, what="The index of updates"), what="It")
        program = str(content.get("program", "")) if isinstance(content, dict) else ""
        reader = from_nvflare if program.startswith("nvflare") else from_flower
        return reader(path.parent, batch_size=told.batch_size, steps=told.steps, **how)
    before, after = (read_weights(files[f"{name}.npz"]) for name in ("before", "after"))
    if told.batch_size is None:
        raise InvalidInputError(
            "How many patients a step has would be told by [updates] batch_size."
        )
    if not history:
        return from_weights(before, after, batch_size=told.batch_size, steps=told.steps, **how)
    if told.clip_norm is None:
        raise InvalidInputError("A private step is read with its [updates] clip_norm.")
    return from_opacus(
        before,
        after,
        history=history,
        clip_norm=told.clip_norm,
        batch_size=told.batch_size,
        patients=max(told.batch_size, round(told.batch_size / history[-1][1])),
        **how,
    )


def _show(name: str, checks: "list[Check]", updates: "list[AttackedUpdate]") -> None:
    from rich.console import Console
    from rich.table import Table

    from privacy._foreign import printable
    from privacy.review.rendered import answer, said, strings

    words = strings("en")
    table = Table(title=f"Review of {name}")
    for heading in ("question", "answer", "why"):
        table.add_column(words[f"col_{heading}"])
    for check in checks:
        table.add_row(words[f"name_{check.name}"], answer(check), printable(said(check)))
    Console().print(table)
    for update in updates:
        print(
            f"{update.client}, round {update.round}: {update.certified} of {update.patients} "
            f"patients proved, {update.read} read. {update.said}".rstrip()
        )
