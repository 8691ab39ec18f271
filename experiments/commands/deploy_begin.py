"""How institutions begin a run: ``inpatient deploy init, join, reveal, agree, accept``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggregation.agreement import Agreement
    from aggregation.plan import Plan
    from aggregation.sites.flare_network import FlareNetwork
    from aggregation.timing.schedule import Schedule

__all__ = ["AcceptAgreed", "AgreeRequests", "InitFederation", "JoinFederation", "RevealPieces"]

_AUTHORITY = "authority"
_CEREMONY = "ceremony"
_SIGNED = "certificates"
_MODULE = "module.py"


@dataclass(frozen=True)
class InitFederation:
    """Draft the plan that a federation.toml proposes: for the sites to read before they join."""

    proposal: Annotated[Positional[Path], arg(metavar="FEDERATION_TOML")]
    """The ``federation.toml`` (docs/deploy.md)."""
    out: Path = Path("federation")
    """Folder for ``plan.json``, ``schema.toml`` and, where there are such, ``schedule.json``,
    ``network.json`` and a model's ``module.py``, which go to every site; ``authority/`` stays."""

    def run(self) -> int:
        """Write the draft and say what it asks of a hospital."""
        from aggregation.models.model_file import ModelFile
        from aggregation.sites.agreed import SCHEDULE_FILE
        from aggregation.sites.flare.nvflare_commands import require_nvflare
        from aggregation.sites.flare_network import NETWORK_FILE
        from aggregation.timing.declared import write_schedule
        from experiments.deployment.federation_file import drafted
        from privacy.errors import InvalidInputError
        from privacy.files import create_durably

        draft = drafted(self.proposal)
        plan, meeting, option = draft.plan, draft.meeting, ""
        files = {"plan.json": plan.to_bytes(), "schema.toml": draft.schema.read_bytes()}
        if draft.schedule is not None:
            files[SCHEDULE_FILE] = write_schedule(draft.schedule)
        if draft.module is not None:
            module = ModelFile.read(draft.module)
            files[_MODULE] = module.content
            if module.beside:
                files[_MODULE.replace(".py", ".first.npy")] = module.beside
            option += f" --module {_MODULE}"
        if meeting is not None:
            require_nvflare()
            option += f" --network {NETWORK_FILE}"
        try:
            for name, content in files.items():
                create_durably(self.out / name, content)
        except FileExistsError as error:
            raise InvalidInputError(
                f"{self.out} holds a plan already, and sites may have asked to take part in it. "
                "Choose another folder with --out."
            ) from error
        if meeting is not None:
            from aggregation.sites.flare.site_certificates import make_authority

            network = make_authority(self.out / _AUTHORITY, meeting.server, meeting.port)
            create_durably(self.out / NETWORK_FILE, network.to_bytes())
            print(f"{self.out / _AUTHORITY} holds the key that signs certificates: it stays here.")
        _tell(plan, draft.schedule)
        file_names = ", ".join([*files, *([NETWORK_FILE] if meeting is not None else [])])
        print(f"Send {file_names} in {self.out} to every site; each then runs: "
              f"inpatient deploy join plan.json SITE_DIR --site NAME{option}")  # fmt: skip
        return 0


@dataclass(frozen=True)
class JoinFederation:
    """Ask to take part: make this site's keys here, and write what it publishes of them."""

    draft: Annotated[Positional[Path], arg(metavar="PLAN_JSON")]
    """The ``plan.json`` that the coordinator sent; ``schedule.json`` beside it, if there is one."""
    folder: Annotated[Positional[Path], arg(metavar="SITE_DIR")]
    """The site's folder; its keys never leave it."""
    site: str = ""
    """Its name: a hospital's of the plan, ``aggregator``, or ``opener``."""
    table: str = ""
    """A hospital's ``table.toml`` (docs/own-data.md)."""
    schema: str = ""
    """The ``schema.toml`` that the coordinator sent."""
    epsilon: float = 1.0
    """Budget of a hospital's ledger, if it is made now; one that stands keeps its own."""
    module: Path | None = None
    """The file that the plan's torch model is of, read and installed here; it stays where it is."""
    network: Path | None = None
    """The ``network.json`` that the coordinator sent, where the sites meet over a network."""
    ledgers: Path | None = None
    """Folder of the site's ledger and key, for all runs on the same patients; what is there is
    taken up. By default new ones in SITE_DIR."""

    def check(self) -> None:
        """Refuse a budget that is none."""
        from privacy._validate import positive

        positive(epsilon=self.epsilon, hint="It is the budget of the hospital's ledger.")

    def run(self) -> int:
        """Make keys, ``site.toml`` and ``request/``; print the request's fingerprint."""
        import json
        from functools import partial

        from aggregation.roles.messages import AGGREGATOR, OPENER
        from aggregation.sites.enrolment import ask
        from privacy.errors import InvalidInputError
        from privacy.files import create_durably, make_folder

        plan, schedule = _read(self.draft)
        if self.site in plan.hospitals and not (self.table and self.schema):
            raise InvalidInputError(
                "A hospital reads its own table: name its mapping by --table and the schema by "
                "--schema."
            )
        network = None if self.network is None else _network(self.network)
        module = self._module(plan)
        make_folder(self.folder, mode=0o700)
        request = ask(
            self.folder,
            plan,
            self.site,
            schedule=schedule,
            ledgers=self.ledgers,
            certificates=None
            if network is None
            else partial(_certificates, self.folder, self.site, network),
        )
        settings: dict[str, object] = {"name": self.site, "roles": [self.site]}
        if self.site not in (AGGREGATOR, OPENER):
            settings["roles"] = ["hospital", *(["holder"] if request.box is not None else [])]
            settings["table"] = str(Path(self.table).absolute())
            settings["schema"] = str(Path(self.schema).absolute())
            settings["epsilon"] = self.epsilon
        if module is not None:
            settings["module"] = str(module.absolute())
        if self.ledgers is not None:
            settings["ledgers"] = str(self.ledgers.absolute())
        lines = [f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in settings.items()]
        create_durably(self.folder / "site.toml", "".join(lines).encode())
        _tell(plan, schedule)
        print(f"Send {self.folder / 'request'} to the coordinator, and tell its fingerprint by "
              f"another way: {request.fingerprint}")  # fmt: skip
        if plan.scheme == "threshold" and request.box is not None:
            print("When all sites have asked, the coordinator sends you their requests; then: "
                  f"inpatient deploy reveal {self.draft} {self.folder} REQUEST...")  # fmt: skip
        return 0

    def _module(self, plan: "Plan") -> Path | None:
        """The model's file, where this site needs one: the very file that the plan names."""
        from aggregation.models import TorchModel
        from aggregation.roles.messages import OPENER
        from aggregation.sites.model_process import installed_file
        from privacy.errors import InvalidInputError

        if isinstance(plan.model, TorchModel) and self.site != OPENER:
            installed_file(plan.model, self.module)
        elif self.module is not None:
            raise InvalidInputError(
                f"{self.site or 'This site'} runs no file: leave out --module (the plan's model is "
                f"{plan.model.kind})."
            )
        return self.module


@dataclass(frozen=True)
class RevealPieces:
    """Under threshold: publish this holder's pieces of the joint key, once all sites have asked.

    Nobody could choose a piece after seeing another's: each request says by a hash which they are.
    """

    draft: Annotated[Positional[Path], arg(metavar="PLAN_JSON")]
    """The ``plan.json`` that the coordinator sent."""
    folder: Annotated[Positional[Path], arg(metavar="SITE_DIR")]
    """The site's folder, as ``inpatient deploy join`` made it."""
    requests: Annotated[Positional[tuple[Path, ...]], arg(metavar="REQUEST_DIR...")]
    """The ``request`` folder of each site, as the coordinator sent them."""

    def run(self) -> int:
        """Write ``revealed/``, which goes to the coordinator."""
        from aggregation.sites.enrolment import publish
        from aggregation.sites.request import read_request
        from aggregation.sites.site_settings import SiteSettings

        ledgers = SiteSettings.load(self.folder).ledgers
        plan, schedule = _read(self.draft)
        publish(
            self.folder,
            plan,
            [read_request(folder) for folder in self.requests],
            schedule=schedule,
            ledgers=Path(ledgers) if ledgers else None,
        )
        print(f"Send {self.folder / 'revealed'} to the coordinator.")
        return 0


@dataclass(frozen=True)
class AgreeRequests:
    """Put the requests of all sites together. Whoever does it has no secret of theirs."""

    draft: Annotated[Positional[Path], arg(metavar="PLAN_JSON")]
    """The ``plan.json`` as it was drafted."""
    requests: Annotated[Positional[tuple[Path, ...]], arg(metavar="REQUEST_DIR...")]
    """The ``request`` folder of each site and, under threshold, ``revealed`` of each holder."""
    authority: Path | None = None
    """Folder with the key that signs certificates; by default ``authority`` beside the draft."""
    out: Path = Path("federation/agreed")
    """Folder for what all sites have alike; it goes to every site."""

    def run(self) -> int:
        """Check every request, write ``agreed/``, and print its digest."""
        from aggregation.sites.ceremony import REVEAL, read_reveal, save_ceremony
        from aggregation.sites.enrolment import agree
        from aggregation.sites.flare_network import NETWORK_FILE
        from aggregation.sites.request import read_request
        from privacy.errors import InvalidInputError
        from privacy.ledger import save_trust

        if (self.out / "plan.json").exists():
            raise InvalidInputError(f"{self.out} holds an agreement already; choose another --out.")
        revealed = [folder for folder in self.requests if (folder / REVEAL).exists()]
        reveals = [read_reveal(folder) for folder in revealed]
        read = [read_request(folder) for folder in self.requests if folder not in revealed]
        beside = self.draft.parent / NETWORK_FILE
        network = _network(beside) if beside.exists() else None
        plan, schedule = _read(self.draft)
        agreed = agree(plan, read, reveals, schedule=schedule, network=network)
        if network is not None:
            authority = self.authority or self.draft.parent / _AUTHORITY
            _sign(authority, network, {r.site: files for r, files in read}, self.out)
        if reveals:
            save_ceremony(self.out / _CEREMONY, read, reveals)
        agreed.save(self.out)
        members = agreed.members
        save_trust(
            self.out / "trust.json", dict(members.hospitals), {"aggregator": members.aggregator}
        )
        for request, _ in sorted(read, key=lambda one: one[0].site):
            print(f"{request.site}: {request.fingerprint}")
        print("Compare each fingerprint with what the site told you by another way. Then send "
              f"{self.out} to every site, and tell the digest: {agreed.digest}")  # fmt: skip
        return 0


@dataclass(frozen=True)
class AcceptAgreed:
    """Install what was agreed, if this site's own plan and keys are in it."""

    folder: Annotated[Positional[Path], arg(metavar="SITE_DIR")]
    """The site's folder, as ``inpatient deploy join`` made it."""
    agreed: Annotated[Positional[Path], arg(metavar="AGREED_DIR")]
    """The folder that came from the coordinator."""
    digest: str = ""
    """Its digest, as it was told by another way than the one that the folder took."""

    def run(self) -> int:
        """Check and install; the site is ready for ``inpatient site``."""
        from aggregation.sites.agreed import Agreed
        from aggregation.sites.enrolment import accept
        from aggregation.sites.site_settings import SiteSettings
        from privacy.errors import RefusedError

        agreed = Agreed.load(self.agreed)
        if self.digest != agreed.digest:
            raise RefusedError(
                f"The digest of {self.agreed} is {agreed.digest}; --digest says "
                f"{self.digest[:80] or 'nothing'}. Ask the coordinator for it by telephone, and "
                "accept nothing else."
            )
        site = SiteSettings.load(self.folder).name
        if agreed.network is not None:
            _install(self.folder, site, agreed.network, self.agreed)
        ceremony = None
        if agreed.plan.scheme == "threshold":
            from aggregation.sites.ceremony import load_ceremony

            ceremony = load_ceremony(self.agreed / _CEREMONY)
        accept(self.folder, agreed, site, ceremony)
        print(f"Installed. Start the site: inpatient site {self.folder}")
        if agreed.network is not None:
            print(f"and what carries for it: inpatient deploy relay {self.folder}")
        return 0


def _network(path: Path) -> "FlareNetwork":
    from aggregation.sites.flare_network import FlareNetwork
    from privacy._foreign import read_file

    return FlareNetwork.from_bytes(read_file(path, most=1 << 12, what="The network"))


def _certificates(folder: Path, site: str, network: "FlareNetwork") -> "Mapping[str, bytes]":
    from aggregation.sites.flare.site_certificates import request_certificates

    return request_certificates({site: folder}, network)[site]


def _sign(
    authority: Path,
    network: "FlareNetwork",
    requests: "Mapping[str, Mapping[str, bytes]]",
    out: Path,
) -> None:
    """Sign what each site asks for, and put it where it goes to every site."""
    from aggregation.sites.flare.site_certificates import approve_certificates
    from privacy.files import write_durably

    for site, files in approve_certificates(authority, network, requests).items():
        for name, content in files.items():
            write_durably(out / _SIGNED / site / name, content)


def _install(folder: Path, site: str, network: "FlareNetwork", agreed: Path) -> None:
    """Make a site's kits from what came back for it."""
    from aggregation.sites.flare.site_certificates import install_kits
    from privacy._foreign import read_file

    came = sorted((agreed / _SIGNED / site).glob("*.zip"))
    signed = {path.name: read_file(path, most=1 << 16, what="A certificate") for path in came[:4]}
    install_kits({site: folder}, network, {site: signed})


def _read(path: Path) -> "tuple[Plan, Schedule | None]":
    """Read a plan as it was drafted, and the schedule that lies beside it, if it has one."""
    from aggregation.plan import Plan
    from aggregation.sites.agreed import SCHEDULE_FILE
    from aggregation.timing.declared import read_schedule
    from privacy._foreign import read_file

    plan = Plan.from_bytes(read_file(path, most=1 << 20, what="The plan"))
    beside = path.parent / SCHEDULE_FILE
    if not beside.exists():
        return plan, None
    return plan, read_schedule(read_file(beside, what="The schedule"))


def _weighed(agreement: "Agreement", hospital: str) -> str:
    """What a hospital's uploads are multiplied by, where that is not 1."""
    if (weight_range := agreement.weights(hospital)) is None:
        return "weights at most 1, by what is opened; "
    least, most = weight_range
    return "" if least == most == 1 else f"weight {least:.3g}{f' to {most:.3g}' * (most > least)}; "


def _tell(plan: "Plan", schedule: "Schedule | None") -> None:
    """Say what a plan asks of each hospital."""
    from aggregation.agreement import Agreement
    from aggregation.models import TorchModel
    from experiments.studies.design import RELATION
    from privacy.accounting import epsilon
    from privacy.ledger.rounding import up

    agreement = Agreement.of(plan, schedule)
    sums = (
        f"{plan.rounds} rounds" if schedule is None else f"{schedule.sums} sums at their own pace"
    )
    print(f"Run {plan.run}: {sums} of {plan.model.kind} with {plan.model.dim} "
          f"parameters under {plan.scheme}; {plan.colluders} hospitals may collude.")  # fmt: skip
    contract = plan.used_rule.contract
    print(f"Rule {contract.name!r}: each hospital sends {contract.crosses}.")
    for name, size in zip(plan.hospitals, plan.declared_sizes, strict=True):
        spent = epsilon(agreement.run_event(name), delta=plan.delta, relation=RELATION).upper
        uploads = "" if schedule is None else f"{schedule.uploads.get(name, 0)} uploads; "
        print(f"  {name}: at most {size} patients; {uploads}{_weighed(agreement, name)}"
              f"epsilon {up(spent)} for each of them at delta {plan.delta:g}")  # fmt: skip
    if isinstance(plan.model, TorchModel):
        print(f"The model is made by {plan.model.factory} of a file with the SHA-256 "
              f"{plan.model.source}: read it as a program, before a site names it.")  # fmt: skip
    print(f"Digest of the plan as drafted: {plan.digest}")
