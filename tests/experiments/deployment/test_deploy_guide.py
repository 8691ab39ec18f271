"""The commands of docs/deploy.md, taken from the page and run in its order, as readers would."""

import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from aggregation.data._toml import read_toml
from aggregation.roles.messages import AGGREGATOR
from experiments.deployment.federation_file import FederationFile
from tests.experiments.deployment.test_local import said_by
from tests.experiments.test_door import LEAVES

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """What stands under a heading of the page."""
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## )", GUIDE, re.MULTILINE | re.DOTALL)
    return str(found)


def steps(text: str) -> dict[int, str]:
    """The numbered steps of a section."""
    parts = re.split(r"^(\d+)\. ", text, flags=re.MULTILINE)
    return {int(number): body for number, body in zip(parts[1::2], parts[2::2], strict=True)}


def commands(text: str) -> list[list[str]]:
    """Each command that a text prints, in its words."""
    inline = re.findall(r"`(inpatient [^`]+)`", text)
    blocks = re.findall(r"^ {4}(inpatient(?: \S+)+)$", text, re.MULTILINE)
    return [shlex.split(" ".join(line.split())) for line in [*inline, *blocks]]


def printed_toml(text: str) -> str:
    """The one file that a text prints."""
    (block,) = re.findall(r"\n\n((?: {4}.*\n|\n)+)", text)
    return textwrap.dedent(block)


def table(folder: Path, name: str) -> None:
    """A hospital's own table of twelve patients, in the files that the page names."""
    rng = random.Random(name)
    rows = [(i, rng.gauss(60, 10), rng.random() < 0.4) for i in range(12)]
    lines = "".join(f"{i},{age:.1f},{int(ill)}\n" for i, age, ill in rows)
    (folder / "ward.csv").write_text(f"id,age,event\n{lines}")
    (folder / "table.toml").write_text(
        'source = "ward.csv"\nid = "id"\noutcome = {column = "event"}\n'
    )


SCHEMA = """
outcome = "event"
[columns]
age = {unit = "years", mean = 60, sd = 10, low = 0, high = 120}
"""


class People:
    """The coordinator and the sites, each in a folder of its own, and what they send each other."""

    def __init__(
        self, place: Path, proposal: str, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        self._capsys, self._monkeypatch = capsys, monkeypatch
        self.coordinator, self.sites = place / "coordinator", place / "sites"
        self.coordinator.mkdir()
        (self.coordinator / "federation.toml").write_text(proposal)
        (self.coordinator / "schema.toml").write_text(SCHEMA)
        self.hospitals = tuple(
            read_toml(self.coordinator / "federation.toml", FederationFile).hospitals
        )
        self.desks = {name: place / name for name in (*self.hospitals, AGGREGATOR)}
        for name, desk in self.desks.items():
            desk.mkdir()
            if name in self.hospitals:
                table(desk, name)

    def folder(self, name: str) -> Path:
        """A site's SITE_DIR."""
        return self.sites / name

    @property
    def requests(self) -> list[str]:
        return [str(self.folder(name) / "request") for name in self.desks]

    def send(self, name: str) -> None:
        """Copy a folder of the coordinator's to every site, but for what stays."""
        for desk in self.desks.values():
            keep = shutil.ignore_patterns("authority")
            shutil.copytree(self.coordinator / name, desk / name, ignore=keep)
            if (desk / name / "schema.toml").exists():
                shutil.copy(desk / name / "schema.toml", desk / "schema.toml")

    def types(self, words: Sequence[str], where: Path, **values: Sequence[str]) -> str:
        """Type a command of the page, with what its capitals stand for."""
        typed: list[str] = []
        for word in words[1:]:
            typed += values.get(word.removesuffix("..."), [word])
        self._monkeypatch.chdir(where)
        status, said = said_by(typed, self._capsys)
        assert status == 0, f"{shlex.join(typed)}: {said}"
        return said

    def at_site(self, words: Sequence[str], name: str, **values: Sequence[str]) -> str:
        """Have one site type a command."""
        given = {"SITE_DIR": [str(self.folder(name))], "REQUEST": self.requests}
        return self.types(words, self.desks[name], **(given | values))

    def begin(self, *, options: Sequence[str] = ()) -> list[list[str]]:
        """Follow the steps up to ``accept``; return the commands that were typed."""
        told = steps(section("Begin a run"))
        (init,) = commands(told[1])
        self.types(init, self.coordinator)
        self.send("draft")
        join, check, serves = commands(told[2])
        for name in self.hospitals:
            (self.desks[name] / "cohort.toml").write_text(
                f'schema = "schema.toml"\n[sites]\n{name} = "table.toml"\n'
            )
            self.types(check, self.desks[name])
            at = join.index("--site") + 1
            own = [*join[:at], name, *join[at + 1 :], *options]
            assert join[at] in self.hospitals
            self.at_site(own, name)
        self.at_site([*serves, *options], AGGREGATOR)
        agree, reveal = commands(told[4])
        revealed: list[str] = []
        if 'scheme = "threshold"' in (self.coordinator / "federation.toml").read_text():
            for name in self.hospitals:
                self.at_site(reveal, name)
                revealed.append(str(self.folder(name) / "revealed"))
        said = self.types(agree, self.coordinator, REQUEST=[*self.requests, *revealed])
        digest = re.findall(r"[0-9a-f]{64}", said)[-1]
        self.send("agreed")
        (accept,) = commands(told[5])
        for name in self.desks:
            self.at_site(accept, name, DIGEST=[digest])
        return [init, join, check, serves, agree, reveal, accept]


Made = Callable[[str], People]


@pytest.fixture
def people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Made:
    return lambda proposal: People(tmp_path, proposal, capsys, monkeypatch)


@contextmanager
def serving(words: Sequence[str], folder: Path) -> Iterator[None]:
    """A site's daemon, as the page says that it is started; it ends when it is asked to."""
    typed = [str(folder) if word == "SITE_DIR" else word for word in words[1:]]
    command = [sys.executable, "-m", "experiments.cli", *typed]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0


def test_a_run_is_begun_carried_and_verified_by_the_commands_of_the_page(people: Made) -> None:
    told = steps(section("Begin a run"))
    here = people("rounds = 2\n" + printed_toml(told[1]))
    here.begin()
    daemon, run = commands(told[6])
    with ExitStack() as daemons:
        for name in here.desks:
            daemons.enter_context(serving(daemon, here.folder(name)))
        said = here.types(run, here.coordinator, DIR=[str(here.sites)])
        assert "has ended at every site" in said
        status = next(words for words in commands(section("Over a network")) if "--status" in words)
        assert '"ended": true' in here.at_site(status, here.hospitals[0])
    verify = next(words for words in commands(section("When it has ended")) if "SITE..." in words)
    folders = [str(here.folder(name)) for name in here.desks]
    said = here.types(verify, here.coordinator / "agreed", SITE=folders)
    assert said.count("OK:") > len(here.hospitals) and "FAIL" not in said


def test_over_a_network_and_at_their_own_pace_each_site_has_a_kit_that_only_carries(
    people: Made,
) -> None:
    network = section("Over a network")
    options = re.findall(r"each adds `(--network [^`]+)` to `join`", network)[0].split()
    printed = (steps(section("Begin a run"))[1], section("Hospitals at their own pace"),
               network.split("`init` then")[0])  # fmt: skip
    here = people('scheme = "threshold"\n' + "".join(map(printed_toml, printed)))
    here.begin(options=options)
    check = next(words for words in commands(network) if "check" in words)
    for name in here.desks:
        assert "OK: flare: mutual TLS" in here.at_site(check, name)


@pytest.mark.parametrize("words", commands(GUIDE), ids=" ".join)
def test_every_command_and_option_of_the_page_is_one(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of those that the runs above don't type: NVFLARE would carry for them."""
    named = " ".join(words[1:3]) if " ".join(words[1:3]) in LEAVES else words[1]
    assert named in LEAVES, words
    status, said = said_by([*named.split(), "--help"], capsys)
    assert status == 0
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"^[\s│]*{option}(?![\w-])", said, re.MULTILINE), option
