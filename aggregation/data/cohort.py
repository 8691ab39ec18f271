"""Several hospitals that share one schema, and ``cohort.toml``, which lists them for experiments.

::

    name = "stroke"
    schema = "schema.toml"
    public = false                    # the default; true: anybody may have the tables

    [sites]                           # each hospital's own table.toml
    north = "north.toml"
    south = {table = "south.toml", tier = "clinic"}

    # or one table with a site column:  table = "table.toml"  and  [tiers] north = "clinic"

    [patients]                        # where one patient may stand more than once; by default not
    records = 5                       # rows of one hospital's table that one patient may have
    hospitals = 2                     # hospitals in which one patient may stand
    shared_ids = true                 # one id is one person in all hospitals; by default each has
                                      # ids of its own

However many records a patient has at a hospital, they count as one patient there: their gradients'
mean is clipped once. In several hospitals they count once in each, and the noise is made for that.
"""

import hashlib
import hmac
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from aggregation.data._toml import STRICT, read_toml
from aggregation.data.encoding import masked
from aggregation.data.patients import Patients, Schema
from aggregation.data.safe_names import site_name
from aggregation.data.tables import read_sites, read_table
from privacy._validate import natural
from privacy.errors import InvalidInputError
from privacy.files import read_regular

__all__ = ["Cohort", "CohortFile", "Repeats", "SiteFile", "local_key", "read_cohort_file"]

_MOST_SITES = 100_000
_KEY_BYTES = 32


@dataclass(frozen=True)
class Repeats:
    """How often one patient may stand in a cohort; protected is the patient, with all of it.

    Attributes:
      records: Rows of one hospital that one patient may have. It costs no privacy: a patient's
        rows are bounded as one. More rows under one id are taken for a fault of the table.
      hospitals: Hospitals in which one patient may stand. A patient moves a sum once for each, and
        the noise is made for so many. No hospital can check it alone: it is who runs it who says.
      shared_ids: Whether one id is one person in all hospitals, so that a cohort can be checked.

    Raises:
      InvalidInputError: A number is below 1.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    records: int = 1
    hospitals: int = 1
    shared_ids: bool = False

    def __post_init__(self) -> None:
        natural(records=self.records, least=1)
        natural(hospitals=self.hospitals, least=1)

    @property
    def any(self) -> bool:
        """Whether a patient may stand anywhere more than once."""
        return max(self.records, self.hospitals) > 1

    def objection(self, hospitals: Mapping[str, Patients]) -> str:
        """Why patients can't be so; empty where they can, or where ids don't tell."""
        if not self.shared_ids or not hospitals:
            return ""
        ids = np.concatenate([np.unique(p.ids) for p in hospitals.values()])
        over = int((np.unique(ids, return_counts=True)[1] > self.hospitals).sum())
        if not over:
            return ""
        allowed = "one hospital" if self.hospitals == 1 else f"{self.hospitals} hospitals"
        return (
            f"{masked(over)} patients stand in more than {allowed}, and the noise is made for so "
            "many. Raise hospitals under [patients], or leave some of their rows out."
        )


@dataclass(frozen=True)
class Cohort:
    """Hospitals that share one schema.

    Attributes:
      name: What it is called.
      hospitals: Each hospital's patients, in the cohort's order.
      schema: What the columns mean; public constants only.
      tiers: The tier of each hospital, where the cohort has tiers.
      public: Whether anybody may have the tables, so that their plain digest tells nothing.
      repeats: How often one patient may stand in it.

    Raises:
      InvalidInputError: No hospital, one whose columns are not the schema's, or one without tier
        where others have one; an id of several hospitals that stands in more than it may.
    """

    name: str
    hospitals: Mapping[str, Patients]
    schema: Schema
    tiers: Mapping[str, str] = field(default_factory=dict)
    public: bool = True
    repeats: Repeats = Repeats()

    def __post_init__(self) -> None:
        if not self.hospitals:
            raise InvalidInputError(f"Cohort {self.name!r} has no hospital; give it at least one.")
        for hospital, patients in self.hospitals.items():
            if patients.features.shape[1] != len(self.schema):
                raise InvalidInputError(
                    f"Hospital {hospital!r} of cohort {self.name!r} has "
                    f"{patients.features.shape[1]} columns, the schema {len(self.schema)}."
                )

        if self.tiers and self.tiers.keys() != self.hospitals.keys():
            raise InvalidInputError(f"Cohort {self.name!r} lacks the tier of some hospital.")
        if over := self.repeats.objection(self.hospitals):
            raise InvalidInputError(f"Cohort {self.name!r}: {over}")

    @classmethod
    def from_file(cls, path: Path | str) -> "Cohort":
        """Read every hospital that a ``cohort.toml`` lists.

        Raises:
          InvalidInputError: A file can't be read or breaks a rule; a hospital has no patient.
        """
        path = Path(path)
        listed = read_cohort_file(path)
        schema = Schema.from_toml(path.parent / listed.schema)
        most = listed.patients.records
        if listed.table:
            hospitals = read_sites(path.parent / listed.table, schema, most_records=most)
            tiers = dict(listed.tiers)
        else:
            sites = {n: SiteFile(s) if isinstance(s, str) else s for n, s in listed.sites.items()}
            hospitals = {
                n: read_table(path.parent / s.table, schema, most_records=most)
                for n, s in sites.items()
            }
            tiers = {n: s.tier for n, s in sites.items() if s.tier}
        name = listed.name or path.stem
        return cls(name, hospitals, schema, tiers, listed.public, listed.patients)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of patients of each hospital, in order."""
        return tuple(p.count for p in self.hospitals.values())

    def key(self, secret: bytes | None = None) -> str:
        """Return what names exactly these patients in a record; 64 hex digits.

        SHA-256 over schema, hospitals, tiers, ids, features and outcomes of a public cohort, and
        over ``repeats`` where a patient may stand more than once or ids are shared. Of any
        other an HMAC of that under ``secret``: a plain digest of few patients confirms a guess.

        Args:
          secret: The local key; by default ``local_key()``. Not asked for a public cohort.
        """
        digest = hashlib.sha256()

        def add(part: bytes) -> None:
            digest.update(struct.pack("<Q", len(part)) + part)  # no two contents run together

        add(self.schema.digest.encode())
        for name, patients in self.hospitals.items():
            add(name.encode())
            add(self.tiers.get(name, "").encode())
            add(np.ascontiguousarray(patients.ids, dtype="<i8").tobytes())
            add(np.ascontiguousarray(patients.features, dtype="<f8").tobytes())
            add(np.ascontiguousarray(patients.outcomes, dtype="<i8").tobytes())
        if self.repeats != Repeats():
            add(repr(self.repeats).encode())
        if self.public:
            return digest.hexdigest()
        secret = local_key() if secret is None else secret
        return hmac.new(secret, b"cohort" + digest.digest(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class SiteFile:
    """One hospital of a cohort: its ``table.toml``, and its tier."""

    __pydantic_config__: ClassVar[Any] = STRICT

    table: str
    tier: str = ""


@dataclass(frozen=True)
class CohortFile:
    """A whole ``cohort.toml``; the module says what each key means."""

    __pydantic_config__: ClassVar[Any] = STRICT

    schema: str
    name: str = ""
    public: bool = False
    table: str = ""
    sites: dict[str, str | SiteFile] = field(default_factory=dict)
    tiers: dict[str, str] = field(default_factory=dict)
    patients: Repeats = Repeats()

    def __post_init__(self) -> None:
        if bool(self.table) == bool(self.sites):
            raise InvalidInputError("give either [sites] or table, and not both")
        if self.tiers and not self.table:
            raise InvalidInputError("tiers goes with table; of [sites] each has its tier beside it")
        if len(self.sites) > _MOST_SITES:
            raise InvalidInputError(f"more than {_MOST_SITES} sites")
        for name in (*self.sites, *((self.name,) if self.name else ())):
            site_name(name)


def read_cohort_file(path: Path) -> CohortFile:
    """Read what a ``cohort.toml`` lists, and none of the tables.

    Raises:
      InvalidInputError: The file can't be read, holds an unknown key or breaks a rule.
    """
    listed = read_toml(path, CohortFile)
    site_name(listed.name or path.stem)
    return listed


def local_key() -> bytes:
    """Return this account's key for the digests of private tables; made when first asked for.

    It lies in ``$INPATIENT_HOME/table.key`` (by default ``~/.config/inpatient``), readable by its
    owner alone, and never leaves the machine. Lost, it costs a recomputation: private cohorts get
    other keys, and their records are made anew.

    Raises:
      InvalidInputError: The file can't be made or read, or is no key.
    """
    home = os.environ.get("INPATIENT_HOME")
    path = (Path(home) if home else Path.home() / ".config" / "inpatient") / "table.key"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _make(path)
        content = read_regular(path, largest=_KEY_BYTES, secret=True)
    except OSError as error:
        raise InvalidInputError(
            f"Can't keep the local key {path}: {error.strerror}. Name another folder by the "
            "environment variable INPATIENT_HOME."
        ) from error
    if len(content) != _KEY_BYTES:
        raise InvalidInputError(f"{path} is no key of {_KEY_BYTES} bytes; delete it.")
    return content


def _make(path: Path) -> None:
    """Write a fresh key whole; of two that do it at once the first one's stays."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(os.urandom(_KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(partial, path)  # fails where a key is there, and never replaces one
    except FileExistsError:
        pass
    finally:
        partial.unlink()
