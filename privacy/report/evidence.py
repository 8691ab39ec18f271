"""What upper layers measured, as versioned JSON that the auditor's page can read for years.

A run's folder may hold ``evidence/*.json``. Each file is one object with ``version`` 1 and
``evidence``, which names its form:

- ``attacks``: ``results``, a list of ``AttackResult``;
- ``audit``: ``results``, a list of ``AuditResult``.

What is not there is not invented: the page says "not measured", or which adversaries were not
tried. Nobody signs these files, and the page says so.

>>> AttackResult("server_sealed", "inversion", 200, 0.11, 0.07, 0.16, 0.95, 0.10).bound is None
True
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from privacy._foreign import parse_json, read_file
from privacy._validate import fraction, natural, non_negative, unit_open
from privacy.errors import CorruptMessageError, InvalidInputError

__all__ = ["AttackResult", "AuditResult", "Evidence", "load_evidence", "save_evidence"]

VERSION = 1


@dataclass(frozen=True)
class AttackResult:
    """How often one attack succeeded.

    Attributes:
      adversary: One of the adversaries' names (``server_sealed``, ``informed``, ...).
      attack: Name of the attack.
      trials: Targets that it was tried on.
      success: Fraction of them that were reconstructed, in [0, 1].
      lower: Lower end of the interval for ``success``.
      upper: Upper end.
      confidence: Of the interval.
      baseline: Success of guessing from the prior, without any release.
      bound: Largest success that the proven guarantee allows at that baseline; None where the
        baseline is not exact or no guarantee exists, so that no bound applies.
      design: What was attacked: a name of the upper layer, empty for the run itself.
      design_zh: The same name for the Chinese page; empty: as ``design``.
      same_design: Whether ``design`` is the run's own, tried in other runs (simulated ones, say).
    """

    adversary: str
    attack: str
    trials: int
    success: float
    lower: float
    upper: float
    confidence: float
    baseline: float
    bound: float | None = None
    design: str = ""
    design_zh: str = ""
    same_design: bool = False

    def __post_init__(self) -> None:
        if self.same_design and not self.design:
            raise InvalidInputError(
                "Expected same_design=False of the run itself: an empty design is the run's."
            )
        natural(trials=self.trials, least=1)
        for name in ("success", "lower", "upper", "baseline"):
            fraction(**{name: getattr(self, name)})
        unit_open(confidence=self.confidence)
        if self.bound is not None:
            fraction(bound=self.bound)
        if not self.lower <= self.success <= self.upper:
            raise InvalidInputError(
                f"Expected lower={self.lower} <= success={self.success} <= upper={self.upper}."
            )


@dataclass(frozen=True)
class AuditResult:
    """What canaries showed of the epsilon that was really spent.

    Attributes:
      method: Name of the audit.
      canaries: How many were put in or left out by coins.
      guesses: How many were guessed.
      correct: How many guesses were right.
      epsilon_lower: Epsilon that is exceeded with ``confidence``; 0 if nothing was shown.
      ceiling: Largest ``epsilon_lower`` that so many canaries could ever show: the audit's power.
      confidence: Of the lower bound.
      delta: The delta that it goes with.
      design: As in ``AttackResult``.
    """

    method: str
    canaries: int
    guesses: int
    correct: int
    epsilon_lower: float
    ceiling: float
    confidence: float
    delta: float
    design: str = ""

    def __post_init__(self) -> None:
        natural(canaries=self.canaries, least=1)
        natural(guesses=self.guesses)
        natural(correct=self.correct)
        non_negative(epsilon_lower=self.epsilon_lower)
        unit_open(confidence=self.confidence)
        unit_open(delta=self.delta)
        if not self.correct <= self.guesses <= self.canaries:
            raise InvalidInputError(
                f"Expected correct={self.correct} <= guesses={self.guesses} <= "
                f"canaries={self.canaries}."
            )
        if math.isnan(self.ceiling) or self.ceiling < self.epsilon_lower:
            raise InvalidInputError(
                f"Expected ceiling={self.ceiling} >= epsilon_lower={self.epsilon_lower}."
            )


@dataclass(frozen=True)
class Evidence:
    """All evidence of a run; empty lists mean "not measured".

    Attributes:
      attacks: What attacks reached.
      audits: What canaries showed.
      files: SHA-256 of each file that it was read from, by its path in the run's folder.
    """

    attacks: tuple[AttackResult, ...] = ()
    audits: tuple[AuditResult, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict, compare=False)


_Result = TypeVar("_Result", AttackResult, AuditResult)


def save_evidence(path: Path, results: Sequence[AttackResult] | Sequence[AuditResult]) -> None:
    """Write results of one form, by custom into the run's ``evidence`` folder.

    Raises:
      InvalidInputError: No results, or of mixed forms.
    """
    forms = {type(result) for result in results}
    if len(forms) != 1:
        raise InvalidInputError("Evidence needs results, all of one form.")
    form = "attacks" if forms == {AttackResult} else "audit"
    rows = [dataclasses.asdict(result) for result in results]
    content = {"version": VERSION, "evidence": form, "results": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)


def load_evidence(folder: Path) -> Evidence:
    """Read all evidence of a folder; no folder means none.

    Raises:
      CorruptMessageError: A file is not evidence of a known form; it is never left out silently.
    """
    attacks: list[AttackResult] = []
    audits: list[AuditResult] = []
    files: dict[str, str] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found = read_file(path, what="The evidence")
            content = parse_json(found, what="The evidence")
            files[f"{folder.name}/{path.name}"] = hashlib.sha256(found).hexdigest()
            if content["version"] != VERSION:
                raise ValueError(f"version {content['version']!r} is not {VERSION}")
            match content["evidence"]:
                case "attacks":
                    attacks += _results(AttackResult, content["results"])
                case "audit":
                    audits += _results(AuditResult, content["results"])
                case other:
                    raise ValueError(f"unknown evidence {other!r}")
        except (CorruptMessageError, ValueError, KeyError, TypeError) as error:
            raise CorruptMessageError(f"The evidence {path} can't be read: {error}.") from error
    return Evidence(tuple(attacks), tuple(audits), files)


def _results(form: type[_Result], rows: Sequence[Mapping[str, Any]]) -> list[_Result]:
    return [form(**row) for row in rows]
