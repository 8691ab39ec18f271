"""How a federation between institutions begins: ``inpatient deploy init, join, agree, accept``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from aggregation.plan import Plan

__all__ = ["AcceptAgreed", "AgreeRequests", "InitFederation", "JoinFederation"]


@dataclass(frozen=True)
class InitFederation:
    """Draft the plan that a federation.toml proposes: for the sites to read before they join."""

    proposal: Annotated[Positional[Path], arg(metavar="FEDERATION_TOML")]
    """The ``federation.toml`` (docs/deploy.md)."""
    out: Path = Path("federation")
    """Folder for ``plan.json`` and ``schema.toml``, which go to every site."""

    def run(self) -> int:
        """Write the draft and say what it asks of a hospital."""
        from experiments.deployment.federation_file import drafted
        from privacy.errors import InvalidInputError
        from privacy.files import create_durably

        plan, schema = drafted(self.proposal)
        try:
            create_durably(self.out / "plan.json", plan.to_bytes())
            create_durably(self.out / "schema.toml", schema.read_bytes())
        except FileExistsError as error:
            raise InvalidInputError(
                f"{self.out} holds a plan already, and sites may have asked to take part in it. "
                "Choose another folder with --out."
            ) from error
        _tell(plan)
        print(f"Send {self.out}/plan.json and schema.toml to every site; each then runs: "
              "inpatient deploy join plan.json SITE_DIR --site NAME")  # fmt: skip
        return 0


@dataclass(frozen=True)
class JoinFederation:
    """Ask to take part: make this site's keys here, and write what it publishes of them."""

    draft: Annotated[Positional[Path], arg(metavar="PLAN_JSON")]
    """The ``plan.json`` that the coordinator sent."""
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

        from aggregation.roles.messages import AGGREGATOR, OPENER
        from aggregation.sites.enrolment import ask
        from privacy.errors import InvalidInputError
        from privacy.files import create_durably, make_folder

        plan = _read(self.draft)
        if self.site in plan.hospitals and not (self.table and self.schema):
            raise InvalidInputError(
                "A hospital reads its own table: name its mapping by --table and the schema by "
                "--schema."
            )
        make_folder(self.folder, mode=0o700)
        request = ask(self.folder, plan, self.site, ledgers=self.ledgers)
        settings: dict[str, object] = {"name": self.site, "roles": [self.site]}
        if self.site not in (AGGREGATOR, OPENER):
            settings["roles"] = ["hospital", *(["holder"] if request.box is not None else [])]
            settings["table"] = str(Path(self.table).absolute())
            settings["schema"] = str(Path(self.schema).absolute())
            settings["epsilon"] = self.epsilon
        if self.ledgers is not None:
            settings["ledgers"] = str(self.ledgers.absolute())
        lines = [f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in settings.items()]
        create_durably(self.folder / "site.toml", "".join(lines).encode())
        _tell(plan)
        print(f"Send {self.folder / 'request'} to the coordinator, and tell its fingerprint by "
              f"another way: {request.fingerprint}")  # fmt: skip
        return 0


@dataclass(frozen=True)
class AgreeRequests:
    """Put the requests of all sites together. Whoever does it has no secret of theirs."""

    draft: Annotated[Positional[Path], arg(metavar="PLAN_JSON")]
    """The ``plan.json`` as it was drafted."""
    requests: Annotated[Positional[tuple[Path, ...]], arg(metavar="REQUEST_DIR...")]
    """The ``request`` folder of each site."""
    out: Path = Path("federation/agreed")
    """Folder for what all sites have alike; it goes to every site."""

    def run(self) -> int:
        """Check every request, write ``agreed/``, and print its digest."""
        from aggregation.sites.enrolment import agree, read_request
        from privacy.errors import InvalidInputError
        from privacy.ledger import save_trust

        if (self.out / "plan.json").exists():
            raise InvalidInputError(f"{self.out} holds an agreement already; choose another --out.")
        read = [read_request(folder) for folder in self.requests]
        agreed = agree(_read(self.draft), read)
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
        accept(self.folder, agreed, SiteSettings.load(self.folder).name)
        print(f"Installed. Start the site: inpatient site {self.folder}")
        return 0


def _read(path: Path) -> "Plan":
    from aggregation.plan import Plan
    from privacy._foreign import read_file

    return Plan.from_bytes(read_file(path, most=1 << 20, what="The plan"))


def _tell(plan: "Plan") -> None:
    """Say what a plan asks of each hospital."""
    from aggregation.releases import run_event
    from experiments.studies.design import RELATION
    from privacy.accounting import epsilon
    from privacy.ledger.rounding import up

    print(f"Run {plan.run}: {plan.rounds} rounds of {plan.model.kind} with {plan.model.dim} "
          f"parameters under {plan.scheme}; {plan.colluders} hospitals may collude.")  # fmt: skip
    for name, size in zip(plan.hospitals, plan.declared_sizes, strict=True):
        spent = epsilon(run_event(plan, name), delta=plan.delta, relation=RELATION).upper
        print(f"  {name}: at most {size} patients; epsilon {up(spent)} for each of them at delta "
              f"{plan.delta:g}")  # fmt: skip
    print(f"Digest of the plan as drafted: {plan.digest}")
