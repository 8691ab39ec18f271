"""The model that a run hands out: parameters, schema and where they come from, as one JSON file.

A local intercept, and whatever else a hospital fitted to its own patients, is not in it: that never
leaves the hospital. The file holds what every party of the run has, so that handing it out costs no
budget.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from aggregation.data.patients import Patients, Schema
from aggregation.models import Model, TorchModel
from aggregation.plan import Plan
from privacy._foreign import parse_json, printable, read_file
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.files import write_durably

__all__ = ["FILE", "SOURCE", "Trained"]

FILE = "model.json"
SOURCE = "module.py"
_VERSION = 1
_LARGEST = 1 << 26
_KEYS = {"version", "run", "plan", "model", "parameters", "schema", "schema_digest"}


@dataclass(frozen=True)
class Trained:
    """A trained model, with all that a prediction needs.

    Guarantees (each is a test in ``tests/aggregation/test_trained.py``):
      - what is read gives the scores of what was saved, bit for bit;
      - no value that a hospital keeps to itself is in the file;
      - whatever is wrong with a stranger's file is one error, and no code of the folder is run.

    Attributes:
      run: Name of the run.
      plan: Digest of its plan, hex: what ledgers name.
      model: Kind and sizes.
      params: Final parameters.
      schema: What its columns and its outcome mean.

    Raises:
      InvalidInputError: Parameters of another length, or columns that are not the model's.
    """

    run: str
    plan: str
    model: Model
    params: Float[np.ndarray, "dim"]
    schema: Schema

    def __post_init__(self) -> None:
        if self.params.shape != (self.model.dim,) or not np.isfinite(self.params).all():
            raise InvalidInputError(
                f"The model has {self.model.dim} parameters; expected as many finite numbers, got "
                f"{self.params.shape}."
            )
        if len(self.schema) != self.model.features:
            raise InvalidInputError(
                f"The model reads {self.model.features} columns, and the schema has "
                f"{len(self.schema)}. They belong to different runs."
            )

    @classmethod
    def of(cls, plan: Plan, params: Float[np.ndarray, "dim"], schema: Schema) -> "Trained":
        """Return what a run hands out.

        Args:
          plan: What was run.
          params: ``Outcome.params``.
          schema: Of the patients that it was trained on.
        """
        return cls(plan.run, plan.digest, plan.model, params, schema)

    def risks(self, patients: Patients) -> Float[np.ndarray, "patients"]:
        """Return each patient's risk of the outcome, in (0, 1).

        Raises:
          RefusedError: The model is a file's, and that file is not approved here.
        """
        slots = patients.slots
        return np.asarray(expit(self.model.scores(self.params, patients.features, slots=slots)))

    def save(self, folder: Path) -> Path:
        """Write ``model.json``, and a torch module's file as ``module.py``; return the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "version": _VERSION,
            "run": self.run,
            "plan": self.plan,
            "model": self.model.spec,
            "parameters": self.params.tolist(),
            "schema": asdict(self.schema),
            "schema_digest": self.schema.digest,
        }
        if isinstance(self.model, TorchModel):
            write_durably(folder / SOURCE, self.model.program.content)
        write_durably(folder / FILE, json.dumps(content, sort_keys=True, indent=1).encode())
        return folder

    @classmethod
    def read(cls, folder: Path) -> "Trained":
        """Read what ``save`` wrote; it may be a stranger's. No module is run.

        Raises:
          InvalidInputError: There is no such file.
          CorruptMessageError: It is not what ``save`` writes.
        """
        path = folder / FILE
        if not path.is_file():
            raise InvalidInputError(
                f"{folder} holds no {FILE}: name the folder 'model' that a run wrote."
            )
        content = read_file(path, most=_LARGEST, what="The model")
        document = parse_json(content, what=str(path), most=_LARGEST)
        if (
            not isinstance(document, dict)
            or set(document) != _KEYS
            or document["version"] != _VERSION
        ):
            raise CorruptMessageError(
                f"{path} is no model of version {_VERSION}: expected the keys "
                f"{', '.join(sorted(_KEYS))}."
            )
        try:
            trained = cls(
                _text(document["run"]),
                _text(document["plan"]),
                Model.from_spec(document["model"]),
                _numbers(document["parameters"]),
                _schema(document["schema"]),
            )
        except (InvalidInputError, ValueError, TypeError) as error:
            raise CorruptMessageError(f"{path}: {printable(str(error))[:500]}") from error
        if trained.schema.digest != document["schema_digest"]:
            raise CorruptMessageError(f"{path}: its schema is not the one that its digest names.")
        return trained


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 200:
        raise TypeError("the run and the plan's digest are texts of at most 200 characters.")
    return value


def _numbers(values: Any) -> Float[np.ndarray, "dim"]:
    if not isinstance(values, list) or not all(type(v) in (int, float) for v in values):
        raise TypeError("its parameters are no list of numbers.")
    return np.array(values, dtype=np.float64)


def _schema(content: Any) -> Schema:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Schema).validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"][:2]))
        raise InvalidInputError(f"its schema: {place}: {first['msg']}.") from error
