"""``inpatient deploy``: a federation whose sites are processes that don't trust each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg, subcommand

from experiments.commands.deploy_begin import (
    AcceptAgreed,
    AgreeRequests,
    InitFederation,
    JoinFederation,
    RevealPieces,
)
from experiments.commands.deploy_network import (
    CertifySites,
    CheckKit,
    Relay,
    RenewCertificates,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Deploy"]

_FRESH = 30.0  # seconds


@dataclass(frozen=True)
class DeployLocal:
    """All sites as processes on this machine: server, hospitals, and an opener for bfv.

    Each hospital's process sees its own table alone. Run again on the same --out, it goes on where
    it stopped, whatever was killed. In the end the folders of all sites are verified together.
    """

    out: Path = Path("results/deploy")
    """Folder of the sites' folders."""
    cohort: str = "heart"
    """heart, or the path of a ``cohort.toml`` that lists each hospital's own table."""
    model: str = "logistic"
    """As for ``inpatient train``."""
    epsilon: float = 1.0
    """Of all that the run releases of a patient; each ledger's budget."""
    scheme: str = "shares"
    """shares, threshold or bfv (which has an opener of its own)."""
    rounds: int | None = None
    """How many sums are opened; by default as ``inpatient train`` has it."""
    seed: int | None = None
    """For measurements alone: simulated sites, with seeded noise and ledgers in memory, whose sums
    are compared with those of one process, bit for bit."""
    network: bool = False
    """Over NVFLARE with mutual TLS on 127.0.0.1, as between machines (extra ``deploy``)."""
    within: float = 3600.0
    """Seconds after which it gives up for now; a later call goes on."""
    data_dir: Path | None = None
    """Folder with heart's original files (by default as packaged)."""
    json: bool = False
    """Print what was measured as JSON."""

    def check(self) -> None:
        """Refuse what can't be deployed, before anything is made."""
        import math

        from aggregation.models import check_name
        from aggregation.sites.agreed import SCHEMES
        from privacy.errors import InvalidInputError

        check_name(self.model)
        if self.scheme not in SCHEMES:
            raise InvalidInputError(
                f"Unknown scheme {self.scheme!r} for sites; choose one of {', '.join(SCHEMES)}."
            )
        if not 0 < self.epsilon < math.inf:
            raise InvalidInputError(f"Expected a finite epsilon={self.epsilon} > 0.")
        _check_within(self.within)
        if self.network:
            from aggregation.sites.flare.nvflare_commands import require_nvflare

            require_nvflare()

    def run(self) -> int:
        """Deal, start, carry, verify; 0 if the ledgers were verified."""
        from experiments.deployment.whole import LocalRun, run_local

        return run_local(LocalRun(**vars(self)))


@dataclass(frozen=True)
class Run:
    """Carry between sites until the end; their daemons, and relays, are started elsewhere."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """Between machines the server's SITE_DIR: jobs of NVFLARE carry, and are submitted again as
    often as it takes. On one machine the folder in which the sites' folders lie."""
    within: float = 3600.0
    """Seconds after which it gives up for now; a later call goes on."""
    silent: float = 20.0
    """Between machines: seconds without a word of a site's relay, or of the job that carries, after
    which another job is begun. More, where connections are slow."""

    def check(self) -> None:
        """Refuse a time that is none."""
        from privacy._validate import positive

        _check_within(self.within)
        positive(silent=self.silent, hint="These are seconds; another job then carries.")

    def run(self) -> int:
        """Carry; 0 when the run has ended."""
        from rich.console import Console

        from aggregation.roles.messages import AGGREGATOR
        from experiments.deployment.local import carry_over_network, carry_to_the_end, site_folders

        with Console(stderr=True).status("carrying") as status:

            def watch(state: "Mapping[str, Any]") -> None:
                status.update(_told(state))

            if (self.folder / "site.toml").exists():
                carry_over_network(
                    {AGGREGATOR: self.folder}, seconds=self.within, silent=self.silent, watch=watch
                )
            else:
                carry_to_the_end(site_folders(self.folder), seconds=self.within, watch=watch)
        print("The run has ended at every site.")
        return 0


@dataclass(frozen=True)
class Status:
    """How the sites on this machine are, or at the server how those on all machines are."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder in which the sites' folders lie: each daemon is asked. Between machines the server's
    SITE_DIR: what sites tell in public is shown, as the courier wrote it last."""
    json: bool = False
    """Print it as JSON."""

    def run(self) -> int:
        """Show it; 0 if all run, or have ended."""
        import json

        if (self.folder / "site.toml").exists():
            from experiments.deployment.far import far_states

            far = far_states(self.folder)
            if self.json:
                print(json.dumps(far, sort_keys=True))
            else:
                _show_far(far)
            return 0 if far["ended"] or (not far["why"] and far["seconds"] < _FRESH) else 2
        from experiments.deployment.local import site_folders, states

        site_states = states(site_folders(self.folder))
        if self.json:
            print(json.dumps(site_states, sort_keys=True))
        else:
            _show(site_states)
        return 0 if all(site_states.values()) else 2


@dataclass(frozen=True)
class Deploy:
    """A federation between processes or machines: start it, watch it, carry its messages."""

    command: Annotated[
        Union[  # noqa: UP007 - annotated members, one subcommand each
            Annotated[InitFederation, subcommand("init")],
            Annotated[JoinFederation, subcommand("join")],
            Annotated[RevealPieces, subcommand("reveal")],
            Annotated[AgreeRequests, subcommand("agree")],
            Annotated[AcceptAgreed, subcommand("accept")],
            Annotated[CheckKit, subcommand("check")],
            Annotated[Relay, subcommand("relay")],
            Annotated[RenewCertificates, subcommand("renew")],
            Annotated[CertifySites, subcommand("certify")],
            Annotated[DeployLocal, subcommand("local")],
            Annotated[Run, subcommand("run")],
            Annotated[Status, subcommand("status")],
        ],
        OmitSubcommandPrefixes,
        OmitArgPrefixes,
    ]

    def run(self) -> int:
        """Run the chosen command."""
        return self.command.run()


def _check_within(seconds: float) -> None:
    from privacy._validate import positive

    positive(within=seconds, hint="These are seconds; a later call goes on.")


def _told(state: "Mapping[str, Any]") -> str:
    late = ", ".join(state.get("late", ())) or "nobody"
    return f"round {state.get('round', '?')}, waiting for {late}"


def _show_far(state: "Mapping[str, Any]") -> None:
    from rich.console import Console
    from rich.table import Table

    late, console = ", ".join(state["late"]) or "nobody", Console()
    console.print(
        f"{state['run']}: round {state['round']} of {state['rounds']}, waiting for {late}; told "
        f"{state['seconds']:.0f} s ago{'; ' if state['why'] else ''}{state['why']}",
        markup=False, highlight=False,
    )  # fmt: skip
    table = Table()
    for heading in ("site", "ended", "counter-signed", "refused", "kB to it", "costs a patient"):
        table.add_column(heading)
    for name, site in state["sites"].items():
        cost = site.get("costs")
        table.add_row(
            name, _said(site["ended"]), _said(site["closed"]), str(site["refused"]),
            f"{state['bytes'].get(name, 0) / 1e3:.0f}", "" if cost is None else f"{cost:g}",
        )  # fmt: skip
    console.print(table)


def _said(state: object) -> str:
    return {True: "yes", False: "no"}.get(bool(state), "") if state is not None else ""


def _show(site_states: "Mapping[str, dict[str, Any] | None]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Sites", title_justify="left")
    for heading in ("site", "roles", "round", "waits for", "ended", "releases", "budget", "memory"):
        table.add_column(heading)
    for name, state in site_states.items():
        if state is None:
            table.add_row(name, "down")
            continue
        ledger = state.get("ledger", {})
        table.add_row(
            name,
            ", ".join(state["roles"]),
            str(state.get("round", "")),
            ", ".join(state.get("late", ())),
            "" if "ended" not in state else "yes" if state["ended"] else "no",
            str(ledger.get("releases", "")),
            f"{ledger['budget']:g}" if ledger else "",
            f"{state['memory'].get('resident', 0) / 1e6:.0f} MB",
        )
    Console().print(table)
