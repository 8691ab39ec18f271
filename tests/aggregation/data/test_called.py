"""The names that others call, and a table that is too large for its machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aggregation.data import Cohort, Schema, read_table
from aggregation.data import sources as module
from experiments.cohorts import load
from privacy.errors import InvalidInputError
from tests.aggregation.data.parts import rows, site, write_csv


def test_the_called_names_are_there() -> None:
    assert callable(Schema.from_toml)
    assert callable(read_table)
    assert callable(Cohort.from_file)
    assert callable(load)


def test_a_file_beyond_the_cap_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(tmp_path / "ward.csv", rows())
    size = (tmp_path / "ward.csv").stat().st_size
    monkeypatch.setattr(module, "MOST_BYTES", size)
    assert len(read_table(*site(tmp_path, 'source = "ward.csv"'))) > 0
    monkeypatch.setattr(module, "MOST_BYTES", size - 1)
    with pytest.raises(InvalidInputError, match=f"more than the {size - 1} that are read at once"):
        read_table(*site(tmp_path, 'source = "ward.csv"'))


def test_a_long_query_draws_no_bar_where_a_command_prints_json() -> None:
    asked = "SELECT current_setting('enable_progress_bar')"
    assert module._ask("a query", asked, []).fetchall() == [(False,)]


@pytest.mark.nightly
def test_a_gigabyte_of_rows_needs_at_most_twice_the_patients_and_300_mb(tmp_path: Path) -> None:
    with (tmp_path / "ward.csv").open("w") as file:
        file.write("patient,event,age_years,cholesterol,smoker,angina,comment\n")
        patient = 0
        while file.tell() < 1 << 30:
            lines = []
            for _ in range(10_000):
                patient += 1
                lines.append(
                    f"{patient},{patient % 2},{20 + patient % 70}.{patient % 10},"
                    f"{3 + patient % 5}.{patient % 97:02d},yes,{1 + patient % 4},{'x' * 60}\n"
                )
            file.write("".join(lines))
    site(tmp_path, 'source = "ward.csv"')
    code = (
        "import resource, sys; from aggregation.data import Schema, read_table\n"
        "idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        f"p = read_table({str(tmp_path / 'table.toml')!r}, "
        f"Schema.from_toml({str(tmp_path / 'schema.toml')!r}))\n"
        "held = p.features.nbytes + p.outcomes.nbytes + p.ids.nbytes\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "print(len(p), held, peak - idle)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    count, held, used = map(int, done.stdout.split())
    assert count > 5_000_000
    assert used <= 2 * held + 300 * 2**20


def test_no_repr_shows_a_patient() -> None:
    cohort = load("heart")
    patients = cohort.hospitals["va"]
    assert repr(patients) == str(patients) == f"{patients}" == "Patients()"
    assert "'va': Patients()" in repr(cohort)
