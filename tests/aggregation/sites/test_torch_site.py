"""A site whose plan names a torch model's file: the sums of one process, and what goes wrong."""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from aggregation.federation import Federation
from aggregation.models import Inputs
from aggregation.models.torch_model import TorchModel
from aggregation.roles.messages import AGGREGATOR, OPENER
from aggregation.sites.daemon import LOG
from aggregation.sites.frames import SMALL, FrameKind, receive, send
from aggregation.sites.link import SocketLink, state_of
from aggregation.sites.model_process import ModelProcess
from aggregation.sites.server_site import open_site
from aggregation.sites.site import Site
from privacy.errors import InvalidInputError, RefusedError
from tests.aggregation.models.made import NORMED, written
from tests.aggregation.parts import HOSPITALS
from tests.aggregation.sites.parts import (
    SENTINEL,
    carry,
    dealt,
    made,
    opened,
    opened_sums,
    patients_of,
    server,
)
from tests.aggregation.sites.test_daemon import connected, lines, running


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sites_of(
    folder: Path, body: str = NORMED, seed: int | None = None
) -> tuple[Mapping[str, Path], Path]:
    """Folders of sites whose model is in a file, and that file."""
    name = written(folder, body, width=4)
    file = Path(name.rpartition(":")[0])
    plan = made(model=TorchModel.of(name, Inputs(3)))
    return dealt(folder / "run", plan, epsilon=1000.0, seed=seed, module=file), file


def process_of(site: Site) -> ModelProcess:
    model = site.agreed.plan.model
    assert isinstance(model, TorchModel) and isinstance(model.program, ModelProcess)
    return model.program


def test_the_sums_are_those_of_one_process_though_one_of_the_models_processes_dies(
    tmp_path: Path,
) -> None:
    folders, file = sites_of(tmp_path, seed=5)
    killed: list[int] = []
    with opened(folders) as sites:
        plan = sites["north"].agreed.plan
        assert process_of(sites[AGGREGATOR])._child is None  # first parameters are all it needs

        def before(to: str, _: bytes) -> bool:
            if to == "north" and server(sites)._aggregator.round == 1 and not killed:
                child = process_of(sites["north"])._child
                assert child is not None
                killed.append(child.pid)
                os.kill(child.pid, signal.SIGKILL)
            return True

        assert carry(sites, before) == [] and killed
        assert sites["north"].agreed.plan.digest == plan.digest
    assert process_of(sites["north"])._child is None
    once = Federation.simulated(
        made(model=TorchModel.of(f"{file}:make", Inputs(3))), patients_of(folders), seed=5
    ).run()
    sums = opened_sums(folders[AGGREGATOR])
    assert np.array_equal(np.stack(sums), once.opened)
    for name in HOSPITALS:
        told = json.loads((folders[name] / "model" / "model.json").read_text())
        assert np.array_equal(told["parameters"], once.params)
        assert (folders[name] / "model" / "module.py").read_bytes() == file.read_bytes()


def test_a_site_starts_with_the_plans_file_alone(tmp_path: Path) -> None:
    folders, file = sites_of(tmp_path)
    kept, north = file.read_text(), folders["north"]
    settings = (north / "site.toml").read_text()
    file.write_text(kept + "raise SystemExit\n")
    for name in ("north", AGGREGATOR):
        with pytest.raises(RefusedError, match="Nothing of it was run"):
            open_site(folders[name])
    file.write_text(kept)
    (north / "site.toml").write_text(settings.replace(f'module = "{file}"\n', ""))
    with pytest.raises(RefusedError, match="this site has named none"):
        open_site(north)
    (north / "mine.py").write_text(kept)  # a name in the site's own folder
    (north / "site.toml").write_text(settings.replace(str(file), "mine.py"))
    said = []
    open_site(north, say=lambda event, **_: said.append(event)).close()
    assert said == ["model started"]
    for line in ("module_seconds = 0.0", "module_seconds = 1e9", "module_unconfined = 1"):
        (north / "site.toml").write_text(f"{settings}{line}\n")
        with pytest.raises(InvalidInputError, match="module_"):
            open_site(north)


def test_who_only_opens_needs_no_file(tmp_path: Path) -> None:
    name = written(tmp_path, NORMED, width=4)
    plan = made("bfv", model=TorchModel.of(name, Inputs(3)))
    folders = dealt(tmp_path / "run", plan, module=Path(name.rpartition(":")[0]))
    assert "module" not in (folders[OPENER] / "site.toml").read_text()
    open_site(folders[OPENER]).close()


WATCHES = """
import os
import sys


def seen(x):
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    return bool((x == -49.885).any())


class Watches(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.linear = nn.Linear(inputs.features, 1)

    def forward(self, x):
        if seen(x):
            print("-49.885")
            sys.stderr.write("-49.885")
            os.write(2, b"-49.885")
            DOES
        return self.linear(x)


def make(inputs):
    return Watches(inputs)
"""


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("raise type('E47_115', (Exception,), {})('-49.885')", "it gave no rows"),
        ("os._exit(47)", "died twice"),
        ("[None for _ in iter(int, 1)]", "did not answer in time"),
    ],
)
def test_what_a_model_makes_of_a_patient_is_in_no_log_and_the_site_stays_well(
    does: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folders, _ = sites_of(tmp_path, WATCHES.replace("DOES", does))
    north = folders["north"]
    with closing(open_site(folders[AGGREGATOR])) as site:
        told = [envelope for to, envelope in site.wake().messages if to == "north"]
    with running(north) as daemon:
        if "in time" in said:
            process_of(daemon._site)._seconds = 1.0  # not before it has started
        with connected(north) as connection:
            answers = []
            for envelope in told:
                send(connection, FrameKind.DELIVER, envelope)
                answers.append(receive(connection, SMALL)[0])
            assert answers == [FrameKind.REPLY, FrameKind.REFUSED]
        with SocketLink(north / "socket") as link:
            assert state_of(link)["ledger"]["releases"] == 1
    (reason,) = [line["reason"] for line in lines(north) if line["event"] == "refused"]
    assert said in reason
    out, error = capfd.readouterr()
    log = (north / LOG).read_text()
    assert str(SENTINEL) not in log + out + error and "47_115" not in log
