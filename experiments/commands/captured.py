"""``inpatient attack --update``: what a captured update of somebody else's client gives away."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from aggregation.capture import Capture, Optimizer, Weights
    from aggregation.models import Model
    from attacks.exact.batch_size import BatchSize
    from attacks.knowledge.priors import Prior
    from attacks.reconstructed import Reconstruction
    from attacks.suite import Effort
    from experiments.cohorts import Cohort

__all__ = ["CapturedUpdate", "OptimizerName", "optimizer_of", "private_step", "reach_of"]

OptimizerName = Literal["sgd", "adam", "adamw"]
_LARGEST_CHECKPOINT = 2**28
_MOST_PATIENTS = 64  # of a batch whose size nobody tells


@dataclass(frozen=True)
class CapturedUpdate:
    """An update, what its owner tells of it, and an attack on it.

    Attributes:
      files: Weights before and after.
      model: ``logistic``, ``mlp:WIDTH`` or ``FILE:FACTORY``.
      learning_rate: The client's.
      batch_size: Patients of one step; 0: not told.
      steps: Local steps.
      optimizer: The client's.
      momentum: Of ``sgd``.
      weight_decay: The optimiser's; None: torch's own default (.01 of ``adamw``, else none).
      patients: Behind all steps; 0: the same batch in each.
      checkpoint: Opacus's, where the step was private: how much noise is in it.
      clip_norm: Of a private step.
      labels: Outcomes of the batch, as the attacker knows them; empty: not known.
    """

    files: tuple[Path, Path]
    model: str
    learning_rate: float
    batch_size: int
    steps: int
    optimizer: OptimizerName
    labels: str
    momentum: float = 0.0
    weight_decay: float | None = None
    patients: int = 0
    checkpoint: Path | None = None
    clip_norm: float = 0.0

    def check(self) -> None:
        """Refuse what can be refused before a file is read."""
        from aggregation.models import check_name
        from privacy._validate import natural, positive
        from privacy.errors import InvalidInputError

        positive(
            learning_rate=self.learning_rate,
            hint="Give the client's with --learning-rate: weights move by it times the gradient.",
        )
        natural(batch_size=self.batch_size)
        natural(steps=self.steps, least=1)
        natural(patients=self.patients)
        self._optimizer()
        private = self.checkpoint is not None
        if private != (self.clip_norm != 0) or (private and not self.batch_size):
            raise InvalidInputError(
                f"A private step is read with --checkpoint, --clip-norm={self.clip_norm:g} and "
                f"--batch-size={self.batch_size} (expected patients of a step): give all or none."
            )
        if private:
            positive(clip_norm=self.clip_norm)
            if self.steps > 1 or self.patients:
                raise InvalidInputError("Of a private training one step is read: steps=1.")
        if self.momentum and self.optimizer != "sgd":
            raise InvalidInputError(
                f"momentum={self.momentum:g} is of sgd; {self.optimizer} has moments of its own."
            )
        if set(self.labels) - {"0", "1"}:
            raise InvalidInputError(
                f"Expected labels={self.labels[:80]!r} of 0 and 1, one for each patient."
            )
        behind = self.patients or self.batch_size
        if self.labels and len(self.labels) != behind:
            raise InvalidInputError(
                f"Expected one label for each patient: {len(self.labels)} were given and "
                f"{'--patients' if self.patients else '--batch-size'} is {behind}."
            )
        kind, _, width = self.model.partition(":")
        if kind != "mlp" or not width.isdecimal():
            check_name(self.model)

    def run(
        self, name: str, cohort: "Cohort", key: str, out: Path, effort: "Effort"
    ) -> dict[str, Any]:
        """Attack, draw the picture and write the record; return the record with both paths.

        Args:
          name: The attack's; empty: the one that suits the model.
          cohort: Whose schema says what the columns are.
          key: What the record calls the cohort.
          out: Folder for picture and record.
          effort: Of an attack that searches.
        """
        import json
        import tempfile
        import time

        import numpy as np

        from aggregation.capture.weight_files import read_weights
        from attacks.knowledge.priors import Prior
        from attacks.scoring.picture import draw_found
        from attacks.suite import ATTACKS
        from attacks.views import Adversary, GradientView, Knowledge, observe, require
        from experiments.run.record import write_new

        prior = Prior.from_schema(cohort.schema)
        before, after = (read_weights(path) for path in self.files)
        model, said = self._model(cohort, before, effort.seed)
        capture, tried = self._captured(model, before, after, cohort, prior)
        said += _searched(tried)
        name = name or self._suitable(capture)
        labels = np.array([int(c) for c in self.labels], dtype=np.int64)
        place = (0, capture.public.hospitals[0])
        knowledge = Knowledge(labels={place: labels} if self.labels else {})
        seen = observe(capture, Adversary("server_plain", knowledge))
        view = require(seen, GradientView, name)
        readings = tried.tried if tried else 1
        charged = tuple(replace(gradient, readings=readings) for gradient in view.gradients)
        view = replace(view, gradients=charged)
        started = time.perf_counter()
        attack = ATTACKS.find(name).make(effort)
        reconstruction = attack.reconstruct(view, prior)
        said += reconstruction.notes
        if self.steps == 1 and not reconstruction.certified.any():
            one = (
                f"One step of {self.optimizer} was read. If the client took more, or by another "
                "optimiser, say so: --steps, --optimizer."
            )
            said += (one,)
        if not self.labels:
            said += ("Outcomes were not told: the attack infers them.",)
        result = {
            "attack": name,
            "files": {path.name: _sha256(path) for path in self.files},
            "cohort": key,
            "model": capture.public.model.spec,
            "precision": str(before.precision),
            "learning_rate": self.learning_rate,
            "optimizer": self.optimizer,
            "momentum": self.momentum,
            "weight_decay": self._optimizer().weight_decay,
            "patients": self.patients or round(capture.public.batch_sizes[0]),
            "steps": self.steps,
            "batch_size": round(capture.public.batch_sizes[0]),
            "batch_size_told": self.batch_size > 0,
            "readings": readings,
            "largest_error": float(capture.error.max() * capture.public.step),
            "largest_entry": float(np.abs(capture.update).max() * capture.public.step),
            "prior": prior.source,
            "certified": int(reconstruction.certified.sum()),
            "records": _records(reconstruction, prior, cohort),
            "said": list(said),
        }
        seconds = round(time.perf_counter() - started, 3)
        with tempfile.TemporaryDirectory(dir=out, prefix=".drawing-") as inner:
            picture = draw_found(reconstruction, prior, Path(inner) / "drawn.png").read_bytes()
        record = json.dumps(result, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
        paths = write_new(
            (out / f"{name}-update.png", picture), (out / f"{name}-update.json", record)
        )
        return result | {"seconds": seconds, "picture": str(paths[0]), "record": str(paths[1])}

    def _model(
        self, cohort: "Cohort", before: "Weights", seed: int
    ) -> "tuple[Model, tuple[str, ...]]":
        from aggregation.capture import flat
        from aggregation.capture.recognition import recognised
        from aggregation.models import Inputs, named_model

        kind, _, width = self.model.partition(":")
        inputs = Inputs.of(cohort.schema)
        if kind == "mlp" and width.isdecimal():
            return named_model("mlp", inputs, width=int(width), seed=seed), ()
        model = named_model(self.model, inputs, width=64, seed=seed)
        weights = flat(model, before)
        twin = recognised(model, weights)
        pulled = self.steps > 1 and self._optimizer().weight_decay > 0
        if twin is model or (pulled and len(weights) > twin.dim):  # two logits, pulled apart
            return model, ()
        return twin, (f"The module computes what the model {twin.kind!r} does: it is read so.",)

    def _captured(
        self,
        model: "Model",
        before: "Weights",
        after: "Weights",
        cohort: "Cohort",
        prior: "Prior",
    ) -> "tuple[Capture, BatchSize | None]":
        """The update as a batch of the told size, or of the one that explains it."""
        from aggregation.capture import from_weights
        from aggregation.models import LinearInput
        from attacks.exact.batch_size import find_batch_size
        from privacy.errors import InvalidInputError

        how: dict[str, Any] = {
            "model": model,
            "learning_rate": self.learning_rate,
            "optimizer": self._optimizer(),
            "reach": [reach_of(column) for column in cohort.schema.columns],
        }
        if self.checkpoint is not None:
            return private_step(
                before, after, self.checkpoint, self.clip_norm, self.batch_size, how
            ), None

        def of_size(size: int) -> "Capture":
            settings = how | {"steps": self.steps, "patients": self.patients or None}
            return from_weights(before, after, batch_size=size, **settings)

        if self.batch_size:
            return of_size(self.batch_size), None
        if self.steps > 1 or not isinstance(model, LinearInput):
            raise InvalidInputError(
                "How many patients stand behind this update can't be read off it: that takes one "
                "step, and a first layer that is linear. Give --batch-size."
            )
        batch_size = find_batch_size(of_size, prior, most=_MOST_PATIENTS)
        return of_size(batch_size.size), batch_size

    def _optimizer(self) -> "Optimizer":
        return optimizer_of(self.optimizer, self.momentum, self.weight_decay)

    def _suitable(self, capture: "Capture") -> str:
        from aggregation.models import LinearInput

        if self.steps > 1:
            return "fedavg"
        return "cascade" if isinstance(capture.public.model, LinearInput) else "tableak"


def _searched(tried: "BatchSize | None") -> tuple[str, ...]:
    """What is said of a batch size that was searched."""
    if tried is None:
        return ()
    if tried.found:
        said = (
            f"The batch size was not told; {tried.size} of 1 to {tried.tried} explains most. A "
            "certificate had to be as many times less likely by chance."
        )
    else:
        said = (
            f"The batch size was not told, and no size from 1 to {tried.tried} explains any "
            "record: 1 is assumed. Give --batch-size."
        )
    return (said,)


def show(result: dict[str, Any]) -> None:
    """Print records and how sure each is."""
    from rich.console import Console
    from rich.table import Table

    title = f"{result['attack']} on an update of {result['patients']}, prior: {result['prior']}"
    table = Table(title=title)
    for heading in ("record", "certified", "sure", "by", "what it says"):
        table.add_column(heading)
    for i, record in enumerate(result["records"], start=1):
        sure = f"{record['confidence']:.0%}"
        proved = "yes" if record["certified"] else "no"
        values = ", ".join(f"{name} {value}" for name, value in record["values"].items())
        table.add_row(str(i), proved, sure, record["step"], values)
    Console().print(table)
    for sentence in result["said"]:
        print(sentence)
    print(f"Picture: {result['picture']}\nRecord: {result['record']}")


def _records(
    reconstruction: "Reconstruction", prior: "Prior", cohort: "Cohort"
) -> list[dict[str, Any]]:
    from attacks.scoring.picture import texts

    names = [feature.name for feature in prior.features]
    steps = reconstruction.steps or ("",) * len(reconstruction)
    return [
        {
            "certified": bool(proved),
            "confidence": float(sure),
            "step": step or ("read" if sure > 0 else "guessed"),
            "values": dict(zip(names, line, strict=True)),
        }
        for proved, sure, step, line in zip(
            reconstruction.certified,
            reconstruction.confidence,
            steps,
            texts(reconstruction.records, prior),
            strict=True,
        )
    ]


def optimizer_of(name: str, momentum: float, weight_decay: float | None) -> "Optimizer":
    """Return a client's optimiser: ``sgd``, ``adam`` or ``adamw``, with torch's defaults."""
    from aggregation.capture import Adam, Sgd

    if name == "sgd":
        return Sgd(momentum, weight_decay=weight_decay or 0.0)
    default = 0.01 if name == "adamw" else 0.0
    decay = default if weight_decay is None else weight_decay
    return Adam(weight_decay=decay, decoupled=name == "adamw")


def private_step(
    before: "Weights",
    after: "Weights",
    checkpoint: Path,
    clip_norm: float,
    batch_size: int,
    how: dict[str, Any],
) -> "Capture":
    """Return a step of a private training, with the noise that its checkpoint tells of."""
    from aggregation.capture import from_opacus
    from privacy._foreign import read_file
    from privacy.ledger.opacus_history import history

    phases = history(read_file(checkpoint, most=_LARGEST_CHECKPOINT, what="The checkpoint"))
    rate = phases[-1][1] if phases else 1.0
    patients = max(batch_size, round(batch_size / rate)) if rate > 0 else batch_size
    settings: dict[str, Any] = {
        "clip_norm": clip_norm,
        "batch_size": batch_size,
        "patients": patients,
    }
    return from_opacus(before, after, history=phases, **settings, **how)


def reach_of(column: Any) -> float:
    """Largest absolute value of a schema's column, standardised."""
    if column.binary or column.group is not None:
        return 1.0
    return float(max(abs(column.low - column.mean), abs(column.high - column.mean)) / column.sd)


def _sha256(path: Path) -> str:
    from privacy._foreign import digest_file

    return digest_file(path)[1]
