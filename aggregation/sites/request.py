"""What a site publishes of itself in order to take part in a run: public halves of its keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aggregation.plan import Plan
from aggregation.roles.messages import AGGREGATOR, OPENER
from aggregation.timing.declared import write_schedule
from aggregation.timing.schedule import Schedule
from privacy._foreign import parse_json, read_file
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.ledger import SigningKey
from privacy.ledger.forms import Form, constant, hexadecimal, name, optional, ruled, text
from privacy.ledger.log import canonical
from privacy.ledger.log.keys import verifies

__all__ = [
    "Request",
    "Requests",
    "digest_of",
    "in_groups",
    "read_asked",
    "read_request",
    "require_all",
    "schedule_digest",
    "set_digest",
]

_DOMAIN = b"inpatient enrolment request 1\x00"
_LARGEST = 1 << 28
_ASKED = ".request.zip"
_LARGEST_ASKED = 1 << 16
_MOST_ASKED = 4


@dataclass(frozen=True)
class Request(Form):
    """What a site publishes of itself, in order to take part in one run.

    Attributes:
      site: Its name: a hospital's of the plan, ``aggregator`` or ``opener``.
      run: Name of the run.
      plan: Digest of the plan as it was drafted, in hex.
      schedule: SHA-256 of the declared schedule that it joins under; None: synchronous rounds.
      public_key: Ed25519; the site's messages, ledger and rows are signed with it.
      box: X25519 of a holder, in hex; None: it holds nothing.
      sign: Ed25519 of a holder, in hex; likewise.
      vouched: The site's signature over its own holder's keys; likewise.
      pieces: What a holder that leads pieces of a joint key commits to (``JointKey.commitment``);
        None: it leads none.
      sealer: SHA-256 of an opener's public material for hospitals; None: it opens nothing.
      adder: SHA-256 of its public material for the aggregator; likewise.
      certificates: SHA-256 over what asks for its certificates; None: it meets nobody over a
        network.
      signature: The site's, over all of the above.
      version: Of this form.
    """

    site: str = ruled(name())
    run: str = ruled(name())
    plan: str = ruled(hexadecimal(64))
    public_key: str = ruled(hexadecimal(64))
    schedule: str | None = ruled(optional(hexadecimal(64)), None)
    box: str | None = ruled(optional(hexadecimal(64)), None)
    sign: str | None = ruled(optional(hexadecimal(64)), None)
    vouched: str | None = ruled(optional(hexadecimal(128)), None)
    pieces: str | None = ruled(optional(hexadecimal(64)), None)
    sealer: str | None = ruled(optional(hexadecimal(64)), None)
    adder: str | None = ruled(optional(hexadecimal(64)), None)
    certificates: str | None = ruled(optional(hexadecimal(64)), None)
    signature: str = ruled(text(128, least=0), "")
    version: int = ruled(constant(2), 2)

    @property
    def statement(self) -> bytes:
        """What its signature covers."""
        return _DOMAIN + canonical.encode(self.to_json() | {"signature": ""})

    def signed(self, key: SigningKey) -> "Request":
        """Return it with the site's signature."""
        return replace(self, signature=key.sign(self.statement))

    @property
    def fingerprint(self) -> str:
        """What people compare by telephone."""
        return in_groups(canonical.encode(self.to_json()))


Requests = Sequence[tuple[Request, Mapping[str, bytes]]]
"""Of several sites, each as ``read_request`` returned it: with the files beside it."""


def read_request(folder: Path) -> tuple[Request, Mapping[str, bytes]]:
    """Read what a site published; return it with the files beside it that it names.

    These are an opener's public material, and what asks for certificates.

    Raises:
      CorruptMessageError: Something else, or its signature does not fit.
    """
    content = read_file(folder / "request.json", most=1 << 16, what="The request")
    try:
        request = Request.from_json(parse_json(content, what="A request"))
    except InvalidInputError as error:
        raise CorruptMessageError(f"{folder} holds no request: {error}") from error
    if not verifies(request.public_key, request.signature, request.statement):
        raise CorruptMessageError(
            f"The request of {request.site!r} is not signed with the key that it names: it changed "
            "on the way. Have it sent again."
        )
    files = {}
    for file, digest in (("sealer", request.sealer), ("adder", request.adder)):
        if digest is not None:
            files[file] = read_file(folder / file, most=_LARGEST, what="An opener's material")
            if canonical.digest(files[file]) != digest:
                raise CorruptMessageError(f"The {file} beside a request is not the one it names.")
    if request.certificates is not None:
        files |= read_asked(folder, request.site, request.certificates)
    return request, files


def read_asked(folder: Path, site: str, digest: str) -> dict[str, bytes]:
    """Read what asks for a site's certificates, by the file's name.

    Raises:
      CorruptMessageError: It has another digest than the site signed.
    """
    csrs = {
        path.name: read_file(path, most=_LARGEST_ASKED, what="A certificate's request")
        for path in sorted(folder.glob(f"*{_ASKED}"))[:_MOST_ASKED]
    }
    if digest_of(csrs) != digest:
        raise CorruptMessageError(
            f"What asks for the certificates of {site!r} changed on the way. Have it sent again."
        )
    return csrs


def in_groups(content: bytes) -> str:
    """Return half of a content's SHA-256 as it is read out: eight groups of four hex digits."""
    digest = canonical.digest(content)[:32]
    return " ".join(digest[i : i + 4] for i in range(0, 32, 4))


def digest_of(files: Mapping[str, bytes]) -> str:
    """Return one digest of several files, by name."""
    return canonical.digest(
        canonical.encode({name_: canonical.digest(content) for name_, content in files.items()})
    )


def schedule_digest(schedule: Schedule | None) -> str | None:
    """Return what requests name a declared schedule by; None: synchronous rounds."""
    return None if schedule is None else canonical.digest(write_schedule(schedule))


def require_all(plan: Plan, schedule: Schedule | None, requests: Requests) -> dict[str, Request]:
    """Return the requests by their site, if there is one of each site of a run and no other.

    Raises:
      RefusedError: A site is missing, is there twice, is none of the run's, or has asked to take
        part in another plan, or along another schedule; or two ask under one key.
    """
    by_site = {request.site: request for request, _ in requests}
    openers = (OPENER,) if plan.scheme == "bfv" else ()
    expected = (*plan.hospitals, AGGREGATOR, *openers)
    if len(by_site) != len(requests) or set(by_site) != set(expected):
        missing = ", ".join(n for n in expected if n not in by_site) or "nobody"
        raise RefusedError(
            f"Expected one request of each of {', '.join(expected)}; missing: {missing}; got "
            f"{len(requests)} of {len(by_site)} sites."
        )
    for request in by_site.values():
        if (request.run, request.plan) != (plan.run, plan.digest):
            raise RefusedError(
                f"The request of {request.site!r} is for run {request.run!r} and plan "
                f"{request.plan[:12]}; this is {plan.run!r} and {plan.digest[:12]}."
            )
        if request.schedule != schedule_digest(schedule):
            raise RefusedError(
                f"The site {request.site!r} joined {_along(request.schedule)}; this run goes "
                f"{_along(schedule_digest(schedule))}. All join with the same files: plan.json "
                "and, where there is one, schedule.json beside it."
            )
    if len({request.public_key for request in by_site.values()}) != len(by_site):
        raise RefusedError("Two sites ask under one key; each makes its own.")
    return by_site


def _along(schedule: str | None) -> str:
    if schedule is None:
        return "in rounds of all hospitals"
    return f"along the schedule {schedule[:12]}"


def set_digest(requests: Mapping[str, Request]) -> str:
    """Return what all requests of a run together are named by."""
    return canonical.digest(canonical.encode({n: r.to_json() for n, r in requests.items()}))
