"""What an update needs is imported and compiled before the first message, of nobody's data."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aggregation.data.patients import Patients
from aggregation.plan import Plan
from aggregation.sites import rehearsal
from aggregation.sites.rehearsal import rehearse
from privacy.mechanisms import OperatingSystem, Seeded
from tests.aggregation.sites.parts import dealt, made
from tests.aggregation.sites.test_daemon import ROOT

_FIRST_UPDATE = """
import sys
from pathlib import Path
from aggregation.sites.server_site import open_site
from aggregation.roles.messages import Message, unpack
from privacy.mechanisms import kernels
folders = {name: Path(path) for name, path in zip(sys.argv[1::2], sys.argv[2::2])}
server, north = open_site(folders["aggregator"]), open_site(folders["north"])

def compiled():
    return {n: len(f.signatures) for n, f in vars(kernels).items() if hasattr(f, "signatures")}

loaded, before = set(sys.modules), compiled()
kinds = []
for to, envelope in server.wake().messages:
    if to == "north":
        kinds += [Message.from_bytes(unpack(envelope, most=2)[0], largest=1 << 20).kind.value]
        said = north.deliver(envelope).messages
assert kinds == ["plan", "model"] and len(said) == 1
assert sum(before.values()) > 0
print(compiled() == before, sorted(set(sys.modules) - loaded))
"""


@pytest.mark.parametrize("scheme", ["shares", "bfv"])
@pytest.mark.parametrize("seed", [None, 3])
def test_the_first_update_imports_and_compiles_nothing(
    scheme: str, seed: int | None, tmp_path: Path
) -> None:
    folders = dealt(tmp_path / "run", made(scheme), seed=seed, epsilon=1000.0)
    named = [part for name in ("aggregator", "north") for part in (name, str(folders[name]))]
    found = subprocess.run(
        [sys.executable, "-c", _FIRST_UPDATE, *named], cwd=ROOT, env=os.environ,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.stdout.split(maxsplit=1) == ["True", "[]\n"], found.stdout + found.stderr


def test_no_patient_is_looked_at_and_no_seeded_noise_is_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[Patients, object]] = []

    def updated(
        plan: Plan, name: str, batches: tuple[Patients, ...], params: object, source: object
    ) -> None:
        seen.append((batches[0], source))

    def counted(plan: Plan, name: str, patients: Patients, params: object, source: object) -> None:
        seen.append((patients, source))

    monkeypatch.setattr(rehearsal, "local_update", updated)
    monkeypatch.setattr(rehearsal, "noised_scalars", counted)
    patients = Patients(np.full((5, 3), 7.25), np.ones(5, dtype=np.int64))
    for simulated, kind in ((False, OperatingSystem), (True, Seeded)):
        seen.clear()
        rehearse(made(), "north", patients, simulated=simulated)
        assert len(seen) == 2
        for nobody, source in seen:
            assert isinstance(source, kind)
            assert nobody.features.shape == (1, 3) and not nobody.features.any()
