"""Loaders of tables that users bring: on made files in the official format, and on the real ones.

The real tables are not part of the project. Where they lie in ``../shared/data`` beside the
checkout, what is known of them is tested too; the made files test the loaders everywhere.
"""

import csv
import gzip
import hashlib
import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from aggregation.data.folds import folds_by_hospital
from experiments.cohorts import COHORTS, dialysis, eicu, folds, ist, load
from experiments.cohorts._official import encoded
from privacy.errors import InvalidInputError, RefusedError

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
FORMS = ("official", "used", "gzipped")


def made_ist(count: int = 120) -> list[dict[str, str]]:
    """Patients in the columns of the trial, with its habits: blanks, lower case, C for unknown."""
    rng = np.random.default_rng(3)
    rows = []
    for k in range(count):
        row = {name: "Y" if rng.random() < 0.4 else "N" for name in ist.COLUMNS}
        row |= {
            "HOSPNUM": str(1 + k % 6),
            "RDELAY": str(rng.integers(1, 49)),
            "RCONSC": str(rng.choice(["F", "D", "U"])),
            "SEX": "m" if k == 3 else str(rng.choice(["M", "F"])),
            "AGE": str(rng.integers(16, 100)),
            "RSBP": str(rng.integers(70, 296)),
            "STYPE": str(rng.choice(["PACS", "LACS", "TACS", "POCS", "OTH"])),
            "RDEF3": "C" if k % 5 == 0 else "Y",
            "COUNTRY": "UK",
            "OCCODE": str(rng.choice([0, 1, 2, 3, 4, 9])),
        }
        if k % 7 == 0:
            row["RATRIAL"] = row["RASP3"] = ""
        rows.append(row)
    return rows


def write(path: Path, rows: list[dict[str, str]], more: tuple[str, ...] = ()) -> Path:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*more, *rows[0]])
    writer.writeheader()
    writer.writerows([{**dict.fromkeys(more, " x "), **row} for row in rows])
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture(params=FORMS)
def trial(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, list[dict[str, str]]]:
    """Made files in each form that is read, and the digests that they then have."""
    rows = made_ist()
    upper = [{name: cell.upper() for name, cell in row.items()} for row in rows]
    text = "".join(",".join(row[name] for name in ist.COLUMNS) + "\n" for row in upper)
    monkeypatch.setattr(ist, "_SHA256", hashlib.sha256(text.encode()).hexdigest())
    digests = tmp_path / "digests.txt"
    digests.write_text(
        "".join(
            f"{n} {ist._digest([r for r in upper if r['HOSPNUM'] == str(n)])[:8]}\n"
            for n in range(1, 7)
        )
    )
    monkeypatch.setattr(ist, "_BY_HOSPITAL", digests)
    if request.param == "official":
        shuffled = [dict(reversed(row.items())) for row in rows]
        write(tmp_path / "IST_corrected.csv", shuffled, more=("ID", "EXPDD", "FDEAD"))
    else:
        write(tmp_path / f"ist_used.csv{'.gz' * (request.param == 'gzipped')}", rows)
    return tmp_path, rows


def test_the_trials_odd_hospitals_come_in_every_form(
    trial: tuple[Path, list[dict[str, str]]],
) -> None:
    folder, rows = trial
    cohort = load("ist-odd", folder)
    assert list(cohort.hospitals) == ["1", "3", "5"]
    known = [(k, r) for k, r in enumerate(rows, 1) if r["OCCODE"] not in ("0", "9")]
    for name, patients in cohort.hospitals.items():
        own = [(k, r) for k, r in known if r["HOSPNUM"] == name]
        assert patients.ids.tolist() == [k for k, _ in own]
        assert patients.outcomes.tolist() == [int(r["OCCODE"] in ("1", "2")) for _, r in own]
        for values, (_, row) in zip(patients.features, own, strict=True):
            clinical = dict(
                zip(cohort.schema.names, cohort.schema.to_clinical(values[None])[0], strict=True)
            )
            assert clinical["AGE"] == pytest.approx(float(row["AGE"]))
            assert clinical["RSBP"] == pytest.approx(float(row["RSBP"]))
            assert clinical["male"] == (row["SEX"].upper() == "M")
            assert clinical["RATRIAL"] == (row["RATRIAL"] == "Y")
            assert clinical["RDEF3"] == (row["RDEF3"] == "Y")
            assert [clinical[f"STYPE={s}"] for s in ("TACS", "PACS", "LACS")] == [
                row["STYPE"] == s for s in ("TACS", "PACS", "LACS")
            ]
            deficits = sum(row[f"RDEF{i}"] == "Y" for i in range(1, 9))
            score = (float(row["AGE"]) - 70) / 10 + deficits
            score += {"F": 0, "D": 2, "U": 4}[row["RCONSC"]]
            assert cohort.schema.scores(values[None])[0] == pytest.approx(score)


@pytest.mark.parametrize("half", ["even", "all"])
def test_even_hospitals_are_refused_before_a_protocol_is_committed(
    trial: tuple[Path, list[dict[str, str]]], half: ist.Half, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = trial
    name = "ist" if half == "all" else "ist-even"
    monkeypatch.setattr(ist, "_PROTOCOL", "paper/a-plan-that-is-not-there.md")
    with pytest.raises(RefusedError, match=r"paper/a-plan.*--cohort ist-odd"):
        load(name, folder)
    monkeypatch.setattr(ist, "_PROTOCOL", "README.md")  # any committed file stands for it
    assert list(load(name, folder).hospitals) == (
        ["2", "4", "6"] if half == "even" else ["1", "2", "3", "4", "5", "6"]
    )
    monkeypatch.setattr(ist, "_ROOT", folder)  # no checkout at all
    with pytest.raises(RefusedError):
        load(name, folder)


@pytest.mark.parametrize("trial", ["official"], indirect=True)
def test_another_table_is_refused_and_the_hospital_named(
    trial: tuple[Path, list[dict[str, str]]],
) -> None:
    folder, rows = trial
    changed = [dict(r) for r in rows]
    changed[3]["AGE"] = "17" if changed[3]["AGE"] != "17" else "18"
    write(folder / "IST_corrected.csv", changed)
    with pytest.raises(InvalidInputError, match=r"rows of 1 hospitals differ \(HOSPNUM 4\)"):
        load("ist-odd", folder)
    write(folder / "IST_corrected.csv", rows[:-1])
    with pytest.raises(InvalidInputError, match=r"119 patients.*HOSPNUM 6"):
        load("ist-odd", folder)
    write(folder / "IST_corrected.csv", rows[1:] + rows[:1])
    with pytest.raises(InvalidInputError, match="HOSPNUM 1"):
        load("ist-odd", folder)
    without = [{k: v for k, v in r.items() if k != "RSBP"} for r in rows]
    write(folder / "IST_corrected.csv", without)
    with pytest.raises(InvalidInputError, match="has no column RSBP"):
        load("ist-odd", folder)


@pytest.mark.parametrize("name", ["ist-odd", "eicu-demo", "dialysis"])
def test_a_missing_file_says_which_where_from_and_which_licence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"ist-odd": r"IST_corrected\.csv.*10\.7488.*Attribution.*ac9731e4",
            "eicu-demo": r"patient\.csv.*physionet.*Open Database License",
            "dialysis": r"Dialysis\.pickle.*survset 0\.2\.11.*GPL-3"}[name]  # fmt: skip
    monkeypatch.delenv("INPATIENT_DATA", raising=False)
    with pytest.raises(InvalidInputError, match=said):
        load(name, tmp_path)
    if name != "dialysis":
        with pytest.raises(InvalidInputError, match=rf"don't come with the package.*{said}"):
            load(name)
        monkeypatch.setenv("INPATIENT_DATA", str(tmp_path))
        with pytest.raises(InvalidInputError, match=f"in {tmp_path}"):
            load(name)


def made_stays() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Two official tables: a second stay, a child, an unknown discharge, nobody measured."""
    patients, measured = [], []
    ages = ("45", "> 89", "12", "70", "66", "51")
    for k, age in enumerate(ages):
        patients.append(
            {
                "patientunitstayid": str(100 + k),
                "uniquepid": f"002-{k % 5}",  # the last is the first one's second stay
                "hospitalid": str(50 + k % 2),
                "age": age,
                "gender": ("Male", "Female", "Male", "", "Unknown", "Male")[k],
                "unittype": "MICU",
                "hospitaldischargestatus": "" if k == 3 else ("Alive", "Expired")[k % 2],
                "unitvisitnumber": str(1 + k // 5),
            }
        )
        values = dict.fromkeys(eicu._MEASURED, "1")
        values |= {"ph": "-1", "temperature": "-1.0", "wbc": "10.20", "verbal": "5", "motor": "6"}
        values |= {"sodium": "139.0", "heartrate": "88", "meanbp": "108", "glucose": "61"}
        measured.append({"patientunitstayid": str(100 + k), **values})
    return patients, measured


def test_first_stays_of_adults_are_joined_and_minus_one_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patients, measured = made_stays()
    write(tmp_path / "patient.csv.gz", patients[::-1], more=("ethnicity", "wardid"))
    write(tmp_path / "apacheApsVar.csv.gz", measured, more=("apacheapsvarid",))
    with pytest.raises(InvalidInputError, match=r"its 3 first stays \(of 1761\) are not"):
        load("eicu-demo", tmp_path)
    first = [{**p, **m} for p, m in zip(patients, measured, strict=True)]
    kept = [eicu._mended(first[k]) for k in (0, 1, 4)]
    monkeypatch.setattr(eicu, "_SHA256", eicu._digest(kept))
    cohort = load("eicu-demo", tmp_path)
    assert {n: p.ids.tolist() for n, p in cohort.hospitals.items()} == {
        "50": [100, 104],
        "51": [101],
    }
    clinical = cohort.schema.to_clinical(cohort.hospitals["51"].features)[0]
    shown = dict(zip(cohort.schema.names, clinical, strict=True))
    assert shown["age"] == 90
    assert shown["ph"] == pytest.approx(7.4)
    assert shown["temperature"] == pytest.approx(36.5)
    assert shown["wbc"] == pytest.approx(10.2)
    assert cohort.hospitals["51"].outcomes.tolist() == [1]


class _Trap:
    """Runs when it is unpickled by a reader that executes."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('executed')",)


def test_a_pickle_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pickle.dumps(_Trap())
    with pytest.raises(InvalidInputError, match="no data frame"):
        dialysis.columns_of(content)
    for junk in (b"", b"\x80\x04", pickle.dumps({"_mgr": 3}), pickle.dumps(list)):
        with pytest.raises(InvalidInputError, match="no data frame"):
            dialysis.columns_of(junk)
    (tmp_path / "Dialysis.pickle").write_bytes(content)
    with pytest.raises(InvalidInputError, match="not the file that was expected"):
        load("dialysis", tmp_path)


def test_centres_become_hospitals() -> None:
    rows = [
        {"pid": str(k), "event": str(k % 2), "num_age": str(40 + k), "num_begin": "3",
         "fac_center": ("217", "9")[k % 2], "fac_disease": ("renal", "hypert")[k % 2]}
        for k in range(6)
    ]  # fmt: skip
    schema, found = encoded("dialysis", rows)
    assert list(found.sites) == ["9", "217"]
    assert schema.names[2:] == tuple(
        f"disease={n}" for n in ("diabetes", "renal", "congen", "other")
    )
    assert found.sites["217"].features[0].tolist() == [-1.0, (3 - 22) / 12, 0, 1, 0, 0]


def real() -> list[str]:
    """What is known of those of the real tables that lie beside the checkout."""
    return [
        name
        for name, file in (("ist-odd", "ist_used.csv.gz"), ("eicu-demo", "eicu_demo_used.csv.gz"))
        if (SHARED / file).is_file()
    ]


@pytest.mark.parametrize("name", ["made", *real()])
def test_the_real_tables_are_the_published_ones(name: str, tmp_path: Path) -> None:
    if name == "made":  # so that this test always holds something: the registry knows them all
        assert {"ist", "ist-odd", "ist-even", "dialysis", "eicu-demo"} <= set(COHORTS)
        return
    cohort = load(name, SHARED)
    for patients in cohort.hospitals.values():
        assert (patients.features >= cohort.schema.low - 1e-12).all()
        assert (patients.features <= cohort.schema.high + 1e-12).all()
    if name == "ist-odd":
        assert len(cohort.hospitals) == 236
        assert sum(min(p.outcomes.sum(), (1 - p.outcomes).sum()) >= 5
                   for p in cohort.hospitals.values()) == 139  # fmt: skip
        assert len(folds(cohort, count=5, seed=0)[0].test) == 139
        # Of all 466 only what says nothing of an outcome: how many there are, and that all encode.
        rows = ist.read_ist(SHARED)
        assert (len(rows), len({r["HOSPNUM"] for r in rows})) == (19_435, 466)
        _, found = encoded("ist", rows)
        assert (len(found.sites), found.left_out) == (464, 150)
    else:
        assert len(cohort.hospitals) == 186
        assert sum(cohort.sizes) == 1_761
        assert sum(int(p.outcomes.sum()) for p in cohort.hospitals.values()) == 165
        assert max(int(p.outcomes.sum()) for p in cohort.hospitals.values()) < 5
        for split in (folds, folds_by_hospital):  # nobody is refused
            tested = {n for fold in split(cohort, count=5, seed=0) for n in fold.test}
            assert tested == set(cohort.hospitals)
