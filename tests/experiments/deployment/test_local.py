"""A federation of processes on this machine: started, killed, carried, verified by one command."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.data.patients import Schema
from aggregation.data.tables import read_table
from aggregation.roles.messages import AGGREGATOR
from aggregation.sites.confinement import SHUT
from aggregation.sites.daemon import LOG
from aggregation.sites.read_apart import read_apart
from aggregation.sites.site import lock_site
from experiments.cli import main
from experiments.cohorts import load
from experiments.deployment.local import Daemons, measured, site_folders, states
from experiments.deployment.own_tables import own_tables
from privacy.errors import InpatientError, InvalidInputError
from privacy.ledger import load_trust, verify
from privacy.ledger.audit.verify import run_folders
from tests.aggregation.models.made import NORMED, written
from tests.aggregation.parts import HOSPITALS
from tests.aggregation.sites.parts import SENTINEL, carry, dealt, made, opened, tables


def test_each_hospital_of_heart_has_its_own_rows_in_a_format_of_its_own(tmp_path: Path) -> None:
    whole, own, kinds = load("heart"), own_tables("heart"), set()
    for name, patients in whole.hospitals.items():
        table, schema = own(name, tmp_path / name)
        known = Schema.from_toml(tmp_path / name / schema)
        for reader in (read_table, read_apart):
            read = reader(tmp_path / name / table, known)
            assert np.array_equal(read.features, patients.features)
            assert np.array_equal(read.outcomes, patients.outcomes)
            assert np.array_equal(read.ids, patients.ids)
        assert known.digest == whole.schema.digest
        (file,) = (tmp_path / name).glob("patients.*")
        kinds.add(file.suffix)
    assert kinds == {".csv", ".parquet", ".db"}


def test_a_cohort_file_names_each_hospitals_own_table(tmp_path: Path) -> None:
    for name in HOSPITALS:
        tables(name, tmp_path / name)
    lines = [f'{name} = "{name}/table.toml"' for name in HOSPITALS]
    text = "\n".join([f'schema = "{HOSPITALS[0]}/schema.toml"', "[sites]", *lines])
    (tmp_path / "cohort.toml").write_text(text)
    table, schema = own_tables(str(tmp_path / "cohort.toml"))("east", tmp_path / "elsewhere")
    assert Path(table).samefile(tmp_path / "east" / "table.toml")
    assert Path(schema).samefile(tmp_path / HOSPITALS[0] / "schema.toml")
    (tmp_path / "one.toml").write_text('schema = "s.toml"\ntable = "t.toml"')
    with pytest.raises(InvalidInputError, match="each has its own"):
        own_tables(str(tmp_path / "one.toml"))
    with pytest.raises(InvalidInputError, match="has no table for each"):
        own_tables("ist")


def test_a_table_read_apart_is_refused_in_the_same_words(tmp_path: Path) -> None:
    tables("north", tmp_path)
    (tmp_path / "ward.csv").write_text("id,a,b,c,event\n1,99,0,0,1\n")
    schema = Schema.from_toml(tmp_path / "schema.toml")
    said = []
    for reader in (read_table, read_apart):
        with pytest.raises(InvalidInputError) as refused:
            reader(tmp_path / "table.toml", schema)
        said.append(str(refused.value))
    assert said[0] == said[1]


def test_of_an_error_that_nobody_foresaw_the_words_stay_in_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def breaks(*_: object) -> None:
        raise ValueError(f"could not convert {SENTINEL}")

    monkeypatch.setattr("aggregation.sites.read_apart.read_table", breaks)
    tables("north", tmp_path)
    with pytest.raises(InvalidInputError, match=r"ValueError at test_local\.py:") as refused:
        read_apart(tmp_path / "table.toml", Schema.from_toml(tmp_path / "schema.toml"))
    out, error = capfd.readouterr()
    assert str(SENTINEL) not in str(refused.value) + out + error


def test_a_reader_that_dies_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregation.sites.read_apart.read_table", lambda *_: os._exit(9))
    tables("north", tmp_path)
    with pytest.raises(InvalidInputError, match="died"):
        read_apart(tmp_path / "table.toml", Schema.from_toml(tmp_path / "schema.toml"))


def test_a_daemon_that_is_killed_while_its_table_is_read_lets_its_site_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = dealt(tmp_path / "run", made())["north"]
    begun = tmp_path / "begun"

    def slow(*_: object) -> None:
        begun.touch()
        time.sleep(4.0)

    monkeypatch.setattr("aggregation.sites.read_apart.read_table", slow)
    schema = Schema.from_toml(folder / "schema.toml")

    def dies() -> None:
        lock_site(folder)
        read_apart(folder / "table.toml", schema)

    process = multiprocessing.get_context("fork").Process(target=dies)
    process.start()
    for _ in range(1000):
        if begun.exists():
            break
        time.sleep(0.01)
    process.kill()
    process.join()
    began = time.monotonic()
    lock_site(folder)()
    assert time.monotonic() - began < 1.0


def in_another_process(out: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "experiments.cli", "deploy", "local", "--out", str(out)]
    root = Path(__file__).resolve().parents[3]
    return subprocess.Popen([*command, *arguments], cwd=root, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("scheme", "network"), [("shares", ()), ("bfv", ("--network",))])
def test_four_hospitals_give_the_sums_of_one_process(
    scheme: str, network: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    asked = ("--rounds", "4", "--seed", "3", "--scheme", scheme, "--json", *network)
    with in_another_process(out, *asked) as process:
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    told = json.loads(said)
    assert told["same_sums"] is True and told["rounds"] == 4
    names = {"cleveland", "hungary", "switzerland", "va", AGGREGATOR}
    assert set(told["memory"]) == names | ({"opener"} if scheme == "bfv" else set())
    assert not any("torch" in mapped for mapped in told["mapped"].values())
    assert max(told["memory"].values()) < (300e6 if scheme == "shares" else 400e6)
    assert set(told["bytes_by_kind"]) >= {"plan", "model", "update", "total", "evidence", "opened"}


def test_hospitals_with_a_torch_model_have_no_torch_in_their_daemons(tmp_path: Path) -> None:
    for name in HOSPITALS:
        tables(name, tmp_path / name)
    listed = [f'{name} = "{name}/table.toml"' for name in HOSPITALS]
    text = "\n".join([f'schema = "{HOSPITALS[0]}/schema.toml"', "[sites]", *listed])
    (tmp_path / "cohort.toml").write_text(text)
    model = written(tmp_path, NORMED, width=4)
    asked = ["--cohort", str(tmp_path / "cohort.toml"), "--model", model, "--rounds", "2"]
    with in_another_process(tmp_path / "run", *asked, "--seed", "3", "--json") as process:
        said, _ = process.communicate(timeout=300)
    told = json.loads(said)
    assert process.returncode == 0 and told["same_sums"] is True
    assert not any("torch" in mapped for mapped in told["mapped"].values())
    log = (tmp_path / "run" / "north" / LOG).read_text()
    assert '"model started"' in log and f'"files": "{SHUT}"' in log


def test_a_supervisor_and_its_daemons_are_killed_and_it_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with in_another_process(out, "--rounds", "12") as process:
        _until_round(out, process, 2)
        process.send_signal(signal.SIGKILL)
    # The daemons live; one of them dies too. What runs is taken as it is.
    told = states(site_folders(out))
    assert all(told.values())
    victim = told["hungary"]
    assert victim is not None
    os.kill(victim["pid"], signal.SIGKILL)
    with in_another_process(out, "--rounds", "12") as process:
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 0 and "it goes on" in " ".join(said.split())
    folders = site_folders(out)
    assert not any(states(folders).values())
    verdict = verify([*folders.values()], load_trust(out / "trust.json"))
    assert [str(f) for f in verdict.findings if f.level == "FAIL"] == []
    # Begun, declared, each round spent and sealed; closed: a checkpoint, three heads, a last word.
    assert [reading.size for reading in verdict.readings] == [2 + 2 * 12 + 5] * 4


def _until_round(out: Path, process: "subprocess.Popen[str]", round_: int) -> None:
    log = out / AGGREGATOR / LOG
    for _ in range(6000):
        assert process.poll() is None
        if log.exists() and f'"round": {round_}' in log.read_text():
            return
        time.sleep(0.02)
    raise AssertionError


def test_a_daemon_that_can_not_start_is_given_up_and_said(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made())
    (folders["east"] / "ward.csv").unlink()
    daemons = Daemons({"east": folders["east"]})
    with daemons.running():
        for _ in range(3000):
            if daemons.failure:
                break
            time.sleep(0.01)
    assert "The daemon of east ended with status 2" in daemons.failure
    assert "not started" in (folders["east"] / LOG).read_text()


def test_what_was_measured_comes_from_the_transcript(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made(rounds=3), seed=1, epsilon=1000.0)
    with opened(folders) as sites:
        carry(sites)
    told: Mapping[str, dict[str, Any] | None] = {
        "north": {"memory": {"most resident": 7, "resident": 5, "mapped": ["numba"]}},
        "east": None,
    }
    found = measured(folders, told)
    assert found.rounds == 3 and found.memory == {"north": 7} and found.mapped["north"] == ["numba"]
    assert 0 < found.median_round <= found.longest_round
    assert found.bytes_by_kind["update"] > found.bytes_by_kind["opened"] > 0
    found.save(tmp_path / "measured.json")
    assert json.loads((tmp_path / "measured.json").read_text())["rounds"] == 3
    shutil.rmtree(folders[AGGREGATOR] / "transcript")
    with pytest.raises(InpatientError):
        measured(folders, told)


def test_the_folder_in_which_the_sites_lie_is_audited_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders, out = dealt(tmp_path / "run", made()), tmp_path / "run"
    with opened(folders) as sites:
        assert carry(sites) == []
    trust = load_trust(out / "trust.json")
    together, apart = verify([out], trust), verify(sorted(folders.values()), trust)
    assert {str(f) for f in together.findings} == {str(f) for f in apart.findings}
    assert together.status == 0 and together.flow == apart.flow
    keys = ["--trust", str(out / "trust.json")]
    assert said_by(["ledger", "report", str(out), *keys], capsys)[0] == 0
    page = (out / "report.en.html").read_text()
    assert all(f"{name}/manifest.json" in page for name in folders)
    assert (
        said_by(["ledger", "verify", str(out), *keys], capsys)[0] == 0
    )  # a page there changes nothing
    shutil.rmtree(folders["east"])
    status, said = said_by(["ledger", "verify", str(out), *keys], capsys)
    assert status == 1 and "no ledger of east was given" in said
    assert (
        said_by(["ledger", "verify", str(tmp_path), *keys], capsys)[0] == 2
    )  # one level, and no deeper
    inner = folders["north"] / "evaluation"
    shutil.copytree(folders["south"], inner)  # a run's folder is one, whatever lies in it
    assert run_folders(folders["north"]) == (folders["north"],)
    assert set(run_folders(out)) == {folders["north"], folders["south"], folders[AGGREGATOR]}
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "north").symlink_to(folders["north"])
    assert said_by(["ledger", "verify", str(tmp_path / "linked"), *keys], capsys)[0] == 2


def said_by(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    out, error = capsys.readouterr()
    return int(stopped.value.code or 0), out + error


def test_status_and_run_say_what_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = threading.active_count()  # other tests' too
    for command in ("status", "run"):
        status, said = said_by(["deploy", command, str(tmp_path)], capsys)
        assert status == 2 and "there is no site" in said
    folders = dealt(tmp_path / "run", made())
    status, said = said_by(["deploy", "status", str(tmp_path / "run")], capsys)
    assert status == 2 and said.count("down") == len(folders)
    status, said = said_by(["deploy", "status", str(tmp_path / "run"), "--json"], capsys)
    assert status == 2 and json.loads(said) == dict.fromkeys(folders)
    status, said = said_by(["deploy", "run", str(tmp_path / "run"), "--within", "0.2"], capsys)
    assert status == 2 and "can't be reached" in said
    assert threading.active_count() < before + 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scheme", "plain"], "Unknown scheme"),
        (["--scheme", "pairwise"], "Unknown scheme"),
        (["--epsilon", "0"], "finite epsilon"),
        (["--epsilon", "inf"], "finite epsilon"),
        (["--within", "0"], "within"),
        (["--cohort", "network"], "no table for each"),
        (["--model", "mars"], "Unknown model"),
    ],
)
def test_what_can_not_be_deployed_is_refused_before_anything_is_made(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    status, told = said_by(["deploy", "local", "--out", str(out), *arguments], capsys)
    assert status == 2
    assert said in told
    assert not out.exists() or not any(out.iterdir())
