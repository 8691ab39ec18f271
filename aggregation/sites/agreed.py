"""What all sites of a run have alike: public, installed by each site, and named by one digest."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from aggregation.agreement import Agreement
from aggregation.plan import Plan
from aggregation.roles.evidence import Judge
from aggregation.roles.messages import AGGREGATOR, OPENER
from aggregation.sealing import (
    Adder,
    Parameters,
    Roster,
    Sealer,
    load_adder,
    load_sealer,
    scheme_class,
)
from aggregation.sealing.holders import QuorumScheme
from aggregation.sites.flare_network import NETWORK_FILE, FlareNetwork
from aggregation.timing.declared import read_schedule, write_schedule
from aggregation.timing.schedule import Schedule
from privacy._foreign import parse_json, read_file
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.files import write_durably
from privacy.ledger.forms import (
    FieldRule,
    Form,
    constant,
    hexadecimal,
    mapping,
    name,
    ruled,
)
from privacy.ledger.log import canonical

__all__ = ["SCHEDULE_FILE", "Agreed", "Members"]

SCHEDULE_FILE = "schedule.json"

SCHEMES = ("shares", "threshold", "bfv", "ckks")
"""Schemes whose hospitals all seal with the same public material."""

_LARGEST = 1 << 28  # bytes of one file
_MOST = 1 << 16


def _key_or_nothing(label: str, value: object) -> str:
    return "" if value == "" else str(hexadecimal(64).check(label, value))


@dataclass(frozen=True)
class Members(Form):
    """Whose signatures count in a run.

    Attributes:
      run: Name of the run.
      hospitals: Public keys, 64 hex digits, by hospital.
      opener: Public key of the one who opens; empty where holders do.
      aggregator: Public key of the aggregator, which signs for what it received.
      version: Of this form.
    """

    run: str = ruled(name())
    hospitals: Mapping[str, str] = ruled(mapping(name(), hexadecimal(64), least=1, most=_MOST))
    opener: str = ruled(FieldRule(_key_or_nothing))
    aggregator: str = ruled(hexadecimal(64))
    version: int = ruled(constant(1), 1)

    def key_of(self, site: str) -> str:
        """Return a site's public key; empty: the run has no such site."""
        named = {AGGREGATOR: self.aggregator, OPENER: self.opener, **self.hospitals}
        return named.get(site, "")

    @property
    def roster(self) -> Roster:
        """The same as a roster."""
        return Roster(self.run, self.hospitals, opener=self.opener)


@dataclass(frozen=True)
class Agreed:
    """One run as every site knows it.

    Guarantees (each is a test in ``tests/aggregation/sites/test_agreed.py``):
      - what is read has a plan that names the roster and the sealing parameters that lie beside it;
      - ``digest`` follows from every byte of it: sites with one digest have one agreement.

    Attributes:
      plan: With the digests of roster and sealing parameters.
      members: Whose signatures count.
      sealer: Public material that hospitals seal with.
      adder: Public material that the aggregator adds with.
      schedule: Which uploads are opened together; None: synchronous rounds.
      detects: Whether an opening is refused in which a lie could go unseen (``Judge``).
      network: Where sites on several machines meet; None: somebody carries between their sockets.

    Raises:
      RefusedError: The plan names other material or another roster, or the scheme is none for
        sites.
    """

    plan: Plan
    members: Members
    sealer: bytes
    adder: bytes
    schedule: Schedule | None = None
    detects: bool = False
    network: FlareNetwork | None = None

    def __post_init__(self) -> None:
        if self.plan.scheme not in SCHEMES:
            raise RefusedError(
                f"The scheme {self.plan.scheme!r} is none for sites that don't trust each other; "
                f"choose one of {', '.join(SCHEMES)}."
            )
        if tuple(self.members.hospitals) != self.plan.hospitals:
            raise RefusedError("The roster has other hospitals than the plan, or in another order.")
        if self.members.run != self.plan.run:
            raise RefusedError("The roster is of another run than the plan.")
        self.judge().require_named(self.plan)

    @property
    def parameters(self) -> Parameters:
        """Of the sealed sums."""
        return self.load_sealer(self.plan.hospitals[0]).parameters

    @cached_property
    def agreement(self) -> Agreement:
        """The plan and its timing, with what uploads cost."""
        return Agreement.of(self.plan, self.schedule)

    def judge(self) -> Judge:
        """Return who decides, from signed words alone, which sums were opened."""
        scheme_type = scheme_class(self.plan.scheme)
        return Judge(
            self.members.roster,
            self.parameters,
            scheme=scheme_type if issubclass(scheme_type, QuorumScheme) else None,
            least=self.agreement.least,
            detects=self.detects,
        )

    def load_sealer(self, hospital: str) -> Sealer:
        """Return a hospital's role in sealing."""
        return load_sealer(self.sealer, hospital)

    def load_adder(self) -> Adder:
        """Return the aggregator's role in sealing."""
        return load_adder(self.adder)

    @property
    def _files(self) -> dict[str, bytes]:
        settings = {"detects": self.detects, "members": self.members.to_json(), "version": 1}
        files = {
            "plan.json": self.plan.to_bytes(),
            "members.json": canonical.encode(settings),
            "sealer": self.sealer,
            "adder": self.adder,
        }
        if self.schedule is not None:
            files[SCHEDULE_FILE] = write_schedule(self.schedule)
        if self.network is not None:
            files[NETWORK_FILE] = self.network.to_bytes()
        return files

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all of it, in hex: what people compare by telephone."""
        named = {name: canonical.digest(content) for name, content in self._files.items()}
        return canonical.digest(canonical.encode({"domain": "inpatient agreed v1", **named}))

    def save(self, folder: Path) -> None:
        """Write it into a folder.

        Raises:
          InvalidInputError: The disk refuses.
        """
        try:
            for name_, content in self._files.items():
                write_durably(folder / name_, content)
        except OSError as error:
            raise InvalidInputError(f"Can't write {folder}: {error.strerror}.") from error

    @classmethod
    def load(cls, folder: Path) -> "Agreed":
        """Read what ``save`` wrote.

        Raises:
          CorruptMessageError: A file is missing, too large, or of another form.
          RefusedError: The files don't belong together.
        """

        def content(name_: str) -> bytes:
            return read_file(folder / name_, most=_LARGEST, what="Of what was agreed,")

        plan = Plan.from_bytes(content("plan.json"))
        fields = parse_json(content("members.json"), what="members.json")
        try:
            if not isinstance(fields, dict) or fields.keys() != {"detects", "members", "version"}:
                raise InvalidInputError("it has other fields")
            if fields["version"] != 1 or not isinstance(fields["detects"], bool):
                raise InvalidInputError("it is of another version")
            members = Members.from_json(fields["members"])
            # JSON sorts names; the order of hospitals is the plan's.
            ordered = {n: members.hospitals[n] for n in plan.hospitals if n in members.hospitals}
            if len(ordered) != len(members.hospitals):
                raise InvalidInputError("it lists hospitals that the plan does not have")
            members = Members(members.run, ordered, members.opener, members.aggregator)
            there = (folder / SCHEDULE_FILE).exists()
            schedule = read_schedule(content(SCHEDULE_FILE)) if there else None
            there = (folder / NETWORK_FILE).exists()
            network = FlareNetwork.from_bytes(content(NETWORK_FILE)) if there else None
            return cls(plan, members, content("sealer"), content("adder"), schedule,
                       fields["detects"], network)  # fmt: skip
        except InvalidInputError as error:
            raise CorruptMessageError(f"{folder} holds no agreement: {error}") from error
