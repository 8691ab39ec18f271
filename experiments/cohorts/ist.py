"""International Stroke Trial: 19,435 patients of acute stroke in 466 hospitals of 36 countries.

Sandercock, Niewada and Czlonkowska (2011), Trials 12:101; data doi:10.7488/ds/104, Open Data
Commons Attribution (ODC-By 1.0): cite it. Users bring ``IST_corrected.csv``.

What to know of it:
  - OCCODE is 0 or 9 for 150 patients: not known, left out; 464 hospitals remain;
  - 129 patients have DIED = 1 and OCCODE 2: the outcome is OCCODE alone;
  - RATRIAL and RASP3 are blank for the 984 patients of the pilot, which is "no" here;
  - 413 patients turned out to have had no stroke; that was known only later, so they stay;
  - all that begins with D, F, EXPD or CMPL, and TD, NCCODE and ID14, is known only later: not used.

**The even-numbered hospitals are kept for a study that is planned first.** They are refused until
the plan is committed as ``paper/protocol.md``: who has seen an answer can't ask the question blind.
"""

import hashlib
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from aggregation.data.folds import Cohort
from experiments.cohorts._official import Official, encoded, folder_of, rows_of
from privacy.errors import InvalidInputError, RefusedError

__all__ = ["Half", "load_ist", "read_ist"]

Half = Literal["odd", "even", "all"]

_OFFICIAL = Official(
    "The International Stroke Trial",
    ("IST_corrected.csv",),
    "doi:10.7488/ds/104, Open Data Commons Attribution 1.0; of its columns those used have SHA-256 "
    "ac9731e4...",
)
_USED = "ist_used.csv"  # the columns below alone
COLUMNS = (
    "HOSPNUM", "RDELAY", "RCONSC", "SEX", "AGE", "RSLEEP", "RATRIAL", "RCT", "RVISINF", "RHEP24",
    "RASP3", "RSBP", "RDEF1", "RDEF2", "RDEF3", "RDEF4", "RDEF5", "RDEF6", "RDEF7", "RDEF8",
    "STYPE", "RXASP", "RXHEP", "COUNTRY", "DNOSTRK", "ID14", "OCCODE",
)  # fmt: skip
_PATIENTS = 19_435
_SHA256 = "ac9731e4315fdf546b56f4e1c710d07f342aee744bcce1bb26d227a9dfaeb08e"
_BY_HOSPITAL = Path(__file__).with_name("ist.digests.txt")  # HOSPNUM and 8 hex digits a line
_ROOT = Path(__file__).resolve().parents[2]
_PROTOCOL = "paper/protocol.md"
_SHOWN = 10  # hospitals that an error names

Row = dict[str, str]


def load_ist(data_dir: Path | None = None, *, half: Half = "odd") -> Cohort:
    """Load the hospitals with an odd number, an even one, or all.

    Guarantees (each is a test in ``tests/experiments/cohorts/test_official.py``):
      - a table with one other value is refused, and the hospital is named;
      - the even-numbered hospitals are refused while no protocol is committed.

    Args:
      data_dir: Folder with ``IST_corrected.csv`` or ``ist_used.csv``, plain or gzipped; None: that
        of ``INPATIENT_DATA``.
      half: ``odd``, ``even`` or ``all``.

    Raises:
      RefusedError: Even-numbered hospitals, without a committed protocol.
      InvalidInputError: The file is missing or not the known one.
    """
    if half != "odd" and not _protocol_is_committed():
        raise RefusedError(
            "The even-numbered hospitals of the International Stroke Trial are kept for a study "
            f"whose protocol is written first: commit {_PROTOCOL}, or use the odd half (--cohort "
            "ist-odd)."
        )
    rows = read_ist(data_dir)
    if half != "all":
        rows = [r for r in rows if int(r["HOSPNUM"]) % 2 == (half == "odd")]
    schema, encoding = encoded("ist", rows)
    name = "ist" if half == "all" else f"ist-{half}"
    return Cohort(name, encoding.sites, schema)


def read_ist(data_dir: Path | None = None) -> list[Row]:
    """Read the columns used, of all patients, and hold them against the study's digest.

    Cells are stripped and upper-cased, whole numbers plain; ``row`` is the row's number.

    Raises:
      InvalidInputError: The file is missing, or its values are not the study's.
    """
    folder = folder_of(_OFFICIAL, data_dir)
    used = [p for p in (folder / _USED, folder / f"{_USED}.gz") if p.is_file()]
    path = used[0] if used else _OFFICIAL.find(_OFFICIAL.files[0], folder)
    rows = [
        {name: _plain(cell) for name, cell in row.items()}
        for row in rows_of(path, COLUMNS, _OFFICIAL, upper=True)
    ]
    _check(rows, path)
    return [{**row, "row": str(number)} for number, row in enumerate(rows, start=1)]


def _plain(cell: str) -> str:
    """``17.0`` as ``17``: spreadsheets write whole numbers so."""
    head, dot, tail = cell.partition(".")
    return head if dot and head.isdigit() and not tail.strip("0") else cell


def _digest(rows: Sequence[Row]) -> str:
    lines = "".join(",".join(row[name] for name in COLUMNS) + "\n" for row in rows)
    return hashlib.sha256(lines.encode()).hexdigest()


def _check(rows: Sequence[Row], path: Path) -> None:
    """Refuse another table, naming the hospitals whose rows differ."""
    if _digest(rows) == _SHA256:
        return
    expected = dict(line.split() for line in _BY_HOSPITAL.read_text(encoding="utf-8").splitlines())
    by_hospital = defaultdict(list)
    for row in rows:
        by_hospital[row["HOSPNUM"]].append(row)
    digests = {name: _digest(hospital_rows)[:8] for name, hospital_rows in by_hospital.items()}
    differ = sorted(
        {*expected, *digests} - {n for n in expected if digests.get(n) == expected[n]},
        key=lambda n: n.zfill(9),
    )
    which = ", ".join(n[:12] for n in differ[:_SHOWN]) + (", ..." if len(differ) > _SHOWN else "")
    mismatch = f"the rows of {len(differ)} hospitals differ (HOSPNUM {which})"
    raise InvalidInputError(
        f"{path} is readable, but its {len(rows)} patients (of {_PATIENTS}) are not those of the "
        f"study: {mismatch if differ else 'the rows stand in another order'}. {_OFFICIAL.way_out}"
    )


def _protocol_is_committed() -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, no shell
            ["git", "cat-file", "-e", f"HEAD:{_PROTOCOL}"],  # noqa: S607 - the user's git
            cwd=_ROOT,
            capture_output=True,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0
