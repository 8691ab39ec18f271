"""Folders of all sites of a run, made in one place: for one machine, tests and measurements.

Whoever deals has seen every private key. Between institutions each makes its own
(``aggregation.sites.enrolment``).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aggregation.plan import Plan
from aggregation.roles.messages import AGGREGATOR, OPENER
from aggregation.sealing import KeyScheme, Policy, Roster
from aggregation.sealing.holders import QuorumScheme
from aggregation.sites.agreed import Agreed, Members
from aggregation.sites.flare_network import FlareNetwork
from aggregation.sites.site import SECRET
from aggregation.sized import sealing_for
from aggregation.timing import Rounds
from aggregation.timing.schedule import Schedule
from privacy.errors import InvalidInputError
from privacy.files import make_folder, write_durably
from privacy.ledger import SigningKey, save_trust

__all__ = ["deal"]


def deal(
    out: Path,
    plan: Plan,
    tables: Callable[[str, Path], tuple[str, str]],
    *,
    epsilon: float,
    schedule: Schedule | None = None,
    seed: int | None = None,
    detects: bool = False,
    network: FlareNetwork | None = None,
    module: Path | None = None,
) -> Mapping[str, Path]:
    """Make a folder for each site; return them by the site's name.

    Args:
      out: Where they lie, each under its name; ``trust.json`` (public keys) beside them.
      plan: What is run.
      tables: Puts a hospital's own files into its folder, or leaves them where they are; returns
        where its ``table.toml`` and the ``schema.toml`` lie, as ``site.toml`` names them.
      epsilon: Budget of each hospital's ledger.
      schedule: Which uploads are opened together; None: synchronous rounds.
      seed: Of simulated sites; None: real ones.
      detects: As for ``Federation.real``.
      network: Where the sites meet; None: somebody carries between their sockets.
      module: File of the plan's torch model, which whoever deals has read; None: it has none.

    Raises:
      InvalidInputError: Something stands there already, or the disk refuses.
      RefusedError: The scheme is none for sites.
    """
    scheme = sealing_for(plan, schedule or Rounds(plan.hospitals, plan.rounds), detects=detects)
    openers = () if isinstance(scheme, QuorumScheme) else (OPENER,)
    names = (*plan.hospitals, AGGREGATOR, *openers)
    folders = {name: out / name for name in names}
    if any(folder.exists() for folder in folders.values()):
        raise InvalidInputError(f"Sites lie in {out} already, and keys are never overwritten.")
    keys = {n: SigningKey.create(folders[n] / "keys" / f"{n}.key") for n in names}
    members = {name: keys[name].public for name in plan.hospitals}
    secrets: dict[str, bytes] = {}
    nobody = Policy(Roster(plan.run, members), min_honest=1, c_assumed=0)  # nothing is opened
    if isinstance(scheme, QuorumScheme):
        scheme = scheme.vouched(plan.run, {name: keys[name] for name in plan.hospitals})
        secrets = {name: h.to_bytes() for name, h in scheme.holders(nobody).items()}
    elif isinstance(scheme, KeyScheme):
        secrets = {OPENER: scheme.opener(nobody).to_bytes()}
    opener = keys[OPENER].public if openers else ""
    roster = Roster(plan.run, members, opener=opener)
    agreed = Agreed(
        replace(plan, sealing=scheme.digest, roster=roster.digest),
        Members(plan.run, members, opener, keys[AGGREGATOR].public),
        scheme.sealer(plan.hospitals[0]).to_bytes(),
        scheme.adder().to_bytes(),
        schedule,
        detects,
        network,
    )
    for name, folder in folders.items():
        agreed.save(folder / "agreed")
        if name in secrets:
            write_durably(folder / SECRET, secrets[name], mode=0o600)
        hospital_settings = None
        if name in members:
            table, schema = tables(name, folder)
            hospital_settings = {"table": table, "schema": schema, "epsilon": epsilon}
        roles = (
            [name]
            if hospital_settings is None
            else ["hospital", *(["holder"] if name in secrets else [])]
        )
        simulated: dict[str, Any] = {} if seed is None else {"simulated": True}
        if seed is not None and hospital_settings is not None:
            simulated["seed"] = seed
        named = {} if module is None or name == OPENER else {"module": str(module.absolute())}
        _settle(
            folder,
            {"name": name, "roles": roles, **(hospital_settings or {}), **simulated, **named},
        )
    save_trust(out / "trust.json", members, {AGGREGATOR: keys[AGGREGATOR].public})
    return folders


def _settle(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write a site's ``site.toml``; its folder is its owner's alone."""
    make_folder(folder, mode=0o700)
    folder.chmod(0o700)
    # JSON's strings, lists, numbers and truth values are TOML's too.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()]
    write_durably(folder / "site.toml", ("\n".join(lines) + "\n").encode())
