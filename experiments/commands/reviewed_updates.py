"""What the suite's attacks reach on captured updates, in the time that a review gives them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aggregation.capture import RunLog
    from attacks.knowledge.priors import Prior
    from attacks.reconstructed import Reconstruction
    from attacks.views import GradientView
    from privacy.review import Check
    from privacy.review.rendered import AttackedUpdate, Remark, TriedAttack
    from privacy.review.told import ToldUpdates

__all__ = ["attacked", "try_all"]

_FIRST = ("closed_form", "spear", "sratta", "cascade", "fedavg", "tableak", "ig", "idlg", "dlg")
_RESTARTS, _ITERATIONS, _PROBE = 4, 200, 8  # of a search, every time; and of its first measure


def attacked(
    files: Mapping[str, Path], settings: "ToldUpdates", seconds: float
) -> "tuple[list[AttackedUpdate], list[TriedAttack], Check]":
    """Attack each captured update of a folder.

    Args:
      files: What is there, by name.
      settings: What the weights are of.
      seconds: For all attacks but the closed form, which takes milliseconds.

    Returns:
      What was reached on each update, what was tried, and the finding.
    """
    from privacy.errors import InpatientError
    from privacy.review import Check, Judgement

    if "updates.json" not in files and not {"before.npz", "after.npz"} <= set(files):
        return [], [], Check("updates", Judgement.UNKNOWN, "updates_none", {})
    needed = ["model", "cohort", "learning_rate"]
    if "updates.json" not in files:
        needed += ["batch_size", *(["clip_norm"] if "checkpoint.pt" in files else [])]
    if lacking := [name for name in needed if getattr(settings, name) is None]:
        return [], [], Check("updates", Judgement.UNKNOWN, "updates_lacking", {"field": lacking[0]})
    try:
        updates, tried = _attack(files, settings, seconds)
    except InpatientError as error:
        refused = {"reason": str(error)}
        return [], [], Check("updates", Judgement.UNKNOWN, "updates_refused", refused)
    certified = sum(update.certified for update in updates)
    values = {
        "count": str(len(updates)),
        "certified": str(certified),
        "read": str(sum(update.read for update in updates)),
        "patients": str(sum(update.patients for update in updates)),
    }
    judgement = Judgement.WRONG if certified else Judgement.HOLDS
    return updates, tried, Check("updates", judgement, f"updates_{judgement}", values)


def _attack(
    files: Mapping[str, Path], settings: "ToldUpdates", seconds: float
) -> "tuple[list[AttackedUpdate], list[TriedAttack]]":
    from attacks.knowledge.priors import Prior
    from attacks.views import GradientView, observe, require
    from experiments.cohorts import load, resolve
    from privacy.review.rendered import Remark

    cohort = load(*resolve(str(settings.cohort), None))
    run = _captured(files, settings, cohort)
    view = require(observe(run, "server_plain"), GradientView, "closed_form")
    updates, tried = try_all(view, Prior.from_schema(cohort.schema), seconds)
    if settings.steps is None and not any(update.certified for update in updates):
        one = Remark("note_one_step")
        updates = [replace(update, remarks=(*update.remarks, one)) for update in updates]
    return updates, tried


@dataclass
class _Attacked:
    """An update, the most that was reached on it so far, and all that attacks said of it."""

    view: "GradientView"
    patients: int
    attack: str = ""
    reached: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()

    @property
    def proved(self) -> bool:
        """Whether there is nobody left to prove."""
        return self.reached[0] >= self.patients

    def take(self, attack: str, reconstruction: "Reconstruction") -> None:
        """Keep what an attack reached, if no other reached as much."""
        if _reached(reconstruction) > self.reached:
            self.attack, self.reached = attack, _reached(reconstruction)
        self.notes = tuple(dict.fromkeys((*self.notes, *reconstruction.notes)))


def try_all(
    view: "GradientView",
    prior: "Prior",
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> "tuple[list[AttackedUpdate], list[TriedAttack]]":
    """Try the suite's attacks on every update by itself, the quickest first.

    An attack is not begun on an update where it would not end in time, as its last try foretells or
    a first measure of a few iterations; nor where all patients are proved. Its effort is always the
    same, so that another machine with enough time finds the same.

    Args:
      view: Of the captured run.
      prior: Says what the columns are.
      seconds: For all but the closed form.
      clock: Seconds.
    """
    from attacks.exact.closed_form import expected_patients
    from privacy.review.rendered import AttackedUpdate

    ends = clock() + seconds
    updates = [
        _Attacked(replace(view, gradients=(gradient,)), expected_patients(view.plan, gradient))
        for gradient in view.gradients
    ]
    if view.plan.local_steps > 1 and view.plan.sampling_size is not None:
        for update in updates:  # one pass: other patients in every step
            update.patients *= view.plan.local_steps
    tried = [_try(name, updates, prior, ends, clock) for name in _suited(view)]
    tried += _not_suited(view)
    rows = []
    for update in updates:
        (gradient,) = update.view.gradients
        certified, read = update.reached
        rows.append(
            AttackedUpdate(
                ", ".join(gradient.hospitals), gradient.round, update.patients, update.attack,
                certified, read, _remarks(update.notes),
            )
        )  # fmt: skip
    return rows, tried


def _try(
    name: str,
    updates: "Sequence[_Attacked]",
    prior: "Prior",
    ends: float,
    clock: Callable[[], float],
) -> "TriedAttack":
    from attacks.suite import make_attack
    from privacy.errors import InpatientError
    from privacy.review.rendered import Remark, TriedAttack

    takes: float | None = 0.0 if name == "closed_form" else None
    late, proved, certified, read = 0, 0, 0, 0
    refused: dict[str, int] = {}
    for update in updates:
        if update.proved:
            proved += 1
            continue
        try:
            if takes is None and clock() < ends:
                takes = _foretold(name, update.view, prior, clock)
            if name != "closed_form" and (takes is None or clock() + takes > ends):
                late += 1
                continue
            began = clock()
            reconstruction = make_attack(
                name, restarts=_RESTARTS, iterations=_ITERATIONS
            ).reconstruct(update.view, prior)
        except InpatientError as error:
            refused[str(error)] = refused.get(str(error), 0) + 1
            continue
        takes = clock() - began
        update.take(name, reconstruction)
        certified, read = (
            a + b for a, b in zip((certified, read), _reached(reconstruction), strict=True)
        )
    remarks = [
        Remark(words, {"count": str(count)})
        for words, count in (("left_time", late), ("left_proved", proved))
        if count
    ]
    for reason, count in refused.items():
        remarks.append(Remark("left_refused", {"count": str(count), "reason": reason}))
    done = len(updates) - late - proved - sum(refused.values())
    return TriedAttack(name, done, len(updates), certified, read, tuple(remarks))


def _foretold(name: str, view: "GradientView", prior: "Prior", clock: Callable[[], float]) -> float:
    """Seconds that an attack will take, by one iteration and a few; loading is not counted."""
    from attacks.suite import make_attack

    times = [clock()]
    for iterations in (1, 1, 1 + _PROBE):
        make_attack(name, restarts=_RESTARTS, iterations=iterations).reconstruct(view, prior)
        times.append(clock())
    one, more = times[2] - times[1], times[3] - times[2]
    return max(one, one + (more - one) * (_ITERATIONS - 1) / _PROBE)


def _suited(view: "GradientView") -> list[str]:
    """Attacks made for such updates, the quickest first; those that a plugin brings come last."""
    from attacks.suite import ATTACKS

    fitting = [name for name in ATTACKS if ATTACKS[name].arena in _arenas(view)]
    quickest = [name for name in _FIRST if name in fitting]
    return quickest + [name for name in fitting if name not in quickest]


def _not_suited(view: "GradientView") -> "Iterator[TriedAttack]":
    from attacks.suite import ATTACKS
    from privacy.review.rendered import Remark, TriedAttack

    for name, attack in ATTACKS.items():
        arena = attack.arena
        if arena not in _arenas(view):
            yield TriedAttack(name, 0, len(view.gradients), 0, 0, (Remark(f"left_{arena.name}"),))


def _arenas(view: "GradientView") -> tuple[Any, ...]:
    from attacks.suite import Arena

    if view.plan.local_steps > 1:
        return Arena.LOCAL_STEPS, Arena.LOCAL_SUMS
    return (Arena.SINGLE,)


def _reached(reconstruction: "Reconstruction") -> tuple[int, int]:
    """Records that are proved, and that are read with more than even odds."""
    return int(reconstruction.certified.sum()), int((reconstruction.confidence > 0.5).sum())


def _remarks(notes: tuple[str, ...]) -> "tuple[Remark, ...]":
    from attacks.reconstructed import Note
    from privacy.review.rendered import Remark

    return tuple(
        Remark(f"note_{note.words}", note.values)
        if isinstance(note, Note)
        else Remark("note_quoted", {"text": note})
        for note in notes
    )


def _captured(
    files: Mapping[str, Path],
    settings: "ToldUpdates",
    cohort: Any,
) -> "RunLog":
    from aggregation.capture import from_flower, from_nvflare, from_weights
    from aggregation.capture.weight_files import read_weights
    from aggregation.models import Inputs, named_model
    from experiments.commands.captured import optimizer_of, private_step, reach_of
    from privacy._foreign import parse_json, read_file
    from privacy.errors import InvalidInputError

    kind, _, width = str(settings.model).partition(":")
    if kind == "mlp" and not width.isdecimal():
        raise InvalidInputError(
            f"Expected the model mlp:WIDTH or logistic, got {settings.model!r}."
        )
    name = kind if kind == "mlp" else str(settings.model)
    model = named_model(name, Inputs.of(cohort.schema), width=int(width or 64), seed=0)
    how: dict[str, Any] = {
        "model": model,
        "learning_rate": settings.learning_rate,
        "optimizer": optimizer_of(settings.optimizer, settings.momentum, settings.weight_decay),
        "reach": [reach_of(column) for column in cohort.schema.columns],
    }
    if "updates.json" in files:
        path = files["updates.json"]
        content: Any = parse_json(read_file(path, what="The index of updates"), what="It")
        program = str(content.get("program", "")) if isinstance(content, dict) else ""
        reader = from_nvflare if program.startswith("nvflare") else from_flower
        return reader(path.parent, batch_size=settings.batch_size, steps=settings.steps or 1, **how)
    before, after = (read_weights(files[f"{name}.npz"]) for name in ("before", "after"))
    size = int(settings.batch_size or 0)
    if "checkpoint.pt" in files:
        clip_norm = float(settings.clip_norm or 0)
        return private_step(before, after, files["checkpoint.pt"], clip_norm, size, how)
    return from_weights(before, after, batch_size=size, steps=settings.steps or 1, **how)
