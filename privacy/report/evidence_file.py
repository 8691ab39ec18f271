"""What upper layers measured, as versioned JSON that the auditor's page can read for years.

A run's folder may hold ``evidence/*.json``. Each file is one object with ``version`` 1 and
``evidence``, which names its form:

- ``attacks``: ``results``, a list of ``AttackResult``;
- ``audit``: ``results``, a list of ``AuditResult``;
- ``evaluation``: ``results``, a list of ``EvaluationResult``.

What is not there is not invented: the page says "not measured", or which adversaries were not
tried. Nobody signs these files, and the page says so.

>>> AttackResult("server_sealed", "inversion", 200, 0.11, 0.07, 0.16, 0.95, 0.10).bound is None
True
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from privacy._foreign import parse_json, quoted, read_file
from privacy._validate import unit_open
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.files import write_durably
from privacy.ledger.forms import (
    FieldRule,
    Form,
    constant,
    flag,
    listed,
    number,
    one_of,
    optional,
    ruled,
    text,
    whole,
)

__all__ = [
    "AttackResult",
    "AuditResult",
    "EvaluationResult",
    "ReportedEvidence",
    "load_evidence",
    "save_evidence",
]

VERSION = 1
_MOST_RESULTS = 10_000  # in one file
_MOST_FILES = 200  # in one folder
_MOST = 2**53  # trials
_SHARE = number(0.0, 1.0)
_SIGNED = number(-1.0, 1.0)
_OPEN = FieldRule(lambda name, value: unit_open(**{name: number().check(name, value)}))


@dataclass(frozen=True)
class AttackResult(Form):
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

    adversary: str = ruled(text(100))
    attack: str = ruled(text(100))
    trials: int = ruled(whole(1, _MOST))
    success: float = ruled(_SHARE)
    lower: float = ruled(_SHARE)
    upper: float = ruled(_SHARE)
    confidence: float = ruled(_OPEN)
    baseline: float = ruled(_SHARE)
    bound: float | None = ruled(optional(_SHARE), None)
    design: str = ruled(text(200, least=0), "")
    design_zh: str = ruled(text(200, least=0), "")
    same_design: bool = ruled(flag(), False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.same_design and not self.design:
            raise InvalidInputError(
                "Expected same_design=False of the run itself: an empty design is the run's."
            )
        if not self.lower <= self.success <= self.upper:
            raise InvalidInputError(
                f"Expected lower={self.lower} <= success={self.success} <= upper={self.upper}."
            )


@dataclass(frozen=True)
class AuditResult(Form):
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

    method: str = ruled(text(100))
    canaries: int = ruled(whole(1, _MOST))
    guesses: int = ruled(whole(0, _MOST))
    correct: int = ruled(whole(0, _MOST))
    epsilon_lower: float = ruled(number())
    ceiling: float = ruled(number(infinite=True))
    confidence: float = ruled(_OPEN)
    delta: float = ruled(_OPEN)
    design: str = ruled(text(200, least=0), "")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.correct <= self.guesses <= self.canaries:
            raise InvalidInputError(
                f"Expected correct={self.correct} <= guesses={self.guesses} <= "
                f"canaries={self.canaries}."
            )
        if self.ceiling < self.epsilon_lower:
            raise InvalidInputError(
                f"Expected ceiling={self.ceiling} >= epsilon_lower={self.epsilon_lower}."
            )


@dataclass(frozen=True)
class EvaluationResult(Form):
    """A figure of the trained model, from counts that were released under the budget.

    Attributes:
      figure: ``AUC``, or ``observed less predicted`` (mean risk).
      value: None: noise drowns it.
      lower: Lower end of its interval, which includes the noise.
      upper: Upper end.
      confidence: Of the interval.
      held_out: Declared number of patients that were counted.
      epsilon: Of the counts alone.
      delta: The delta that it goes with.
      disjoint: Whether none of the counted patients took part in training.
    """

    figure: str = ruled(text(100))
    value: float | None = ruled(optional(_SIGNED))
    lower: float = ruled(_SIGNED)
    upper: float = ruled(_SIGNED)
    confidence: float = ruled(_OPEN)
    held_out: int = ruled(whole(1, _MOST))
    epsilon: float = ruled(number(infinite=True))
    delta: float = ruled(_OPEN)
    disjoint: bool = ruled(flag())

    def __post_init__(self) -> None:
        super().__post_init__()
        value = self.lower if self.value is None else self.value
        if not self.lower <= value <= self.upper:
            raise InvalidInputError(
                f"Expected lower={self.lower} <= value={self.value} <= upper={self.upper}."
            )


@dataclass(frozen=True)
class ReportedEvidence:
    """All evidence of a run; empty lists mean "not measured".

    Attributes:
      attacks: What attacks reached.
      audits: What canaries showed.
      evaluations: Figures of the model, from released counts.
      files: SHA-256 of each file that it was read from, by its path in the run's folder.
    """

    attacks: tuple[AttackResult, ...] = ()
    audits: tuple[AuditResult, ...] = ()
    evaluations: tuple[EvaluationResult, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict, compare=False)


_FORMS: Mapping[str, type[Form]] = {
    "attacks": AttackResult,
    "audit": AuditResult,
    "evaluation": EvaluationResult,
}


@dataclass(frozen=True)
class _File(Form):
    """One file: what form its results have."""

    version: int = ruled(constant(VERSION))
    evidence: str = ruled(one_of(*_FORMS))
    results: tuple[Any, ...] = ruled(
        listed(FieldRule(lambda _, value: value), least=0, most=_MOST_RESULTS)
    )


def save_evidence(
    path: Path,
    results: Sequence[AttackResult] | Sequence[AuditResult] | Sequence[EvaluationResult],
) -> None:
    """Write results of one form, by custom into the run's ``evidence`` folder.

    Raises:
      InvalidInputError: No results, or of mixed forms; or the disk refuses.
    """
    (form,) = {name for name, form in _FORMS.items() if {*map(type, results)} == {form}} or {""}
    if not form:
        raise InvalidInputError("Evidence needs results, all of one form.")
    file = _File(VERSION, form, tuple(result.to_json() for result in results))
    text = json.dumps(file.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    try:
        write_durably(path, text.encode() + b"\n")
    except OSError as error:
        raise InvalidInputError(
            f"The evidence {path} can't be written: {error.strerror}."
        ) from error


def load_evidence(folder: Path) -> ReportedEvidence:
    """Read all evidence of a folder; no folder means none.

    Raises:
      CorruptMessageError: A file is not evidence of a known form; it is never left out silently.
    """
    results: dict[str, list[Any]] = {name: [] for name in _FORMS}
    files: dict[str, str] = {}
    for path in sorted(folder.glob("*.json")):
        if len(files) >= _MOST_FILES:
            raise CorruptMessageError(f"{quoted(folder)} holds more than {_MOST_FILES} files.")
        try:
            content = read_file(path, what="The evidence")
            file = _File.from_json(parse_json(content, what="The evidence"))
            form = _FORMS[file.evidence]
            results[file.evidence] += [form.from_json(row) for row in file.results]
        except (CorruptMessageError, InvalidInputError) as error:
            raise CorruptMessageError(
                f"The evidence {quoted(path)} can't be read: {error}"
            ) from error
        files[f"{folder.name}/{path.name}"] = hashlib.sha256(content).hexdigest()
    return ReportedEvidence(
        tuple(results["attacks"]), tuple(results["audit"]), tuple(results["evaluation"]), files
    )
