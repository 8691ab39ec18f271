"""How sites that don't trust each other begin a run: each makes its keys at home, and asks.

    coordinator   draft    the plan, without keys                                plan.json
    site          ask      makes its keys; publishes the public halves, signed   request/
    coordinator   agree    puts all requests together; has no secret             agreed/
    site          accept   finds its own keys in it, and installs it             agreed/, secret

No private key ever travels, and whoever puts requests together can only put in what was asked for:
each site compares the digest of what it accepted with the others', by another way than the one that
the files took. The schemes are ``shares``, whose holders are hospitals, and ``bfv``, whose opener
makes the key; a joint key of ``threshold`` needs a ceremony of all holders, which is not here.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from aggregation.plan import Plan
from aggregation.roles.messages import AGGREGATOR, OPENER
from aggregation.sealing import Policy, Roster, load_adder, load_sealer, make_scheme
from aggregation.sealing.bfv import Bfv
from aggregation.sealing.quorum import HolderPublic, HolderSecret, Quorum, vouch
from aggregation.sealing.shares import Shares
from aggregation.sites.agreed import Agreed, Members
from aggregation.sites.flare_network import FlareNetwork
from aggregation.sites.site import SECRET
from aggregation.sized import SealingSizes, sizes_of
from aggregation.standing import StandingLedgers
from aggregation.timing import Rounds
from aggregation.timing.schedule import Schedule
from privacy._foreign import parse_json, read_file
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.files import create_durably, read_regular, write_durably
from privacy.ledger import SigningKey
from privacy.ledger.forms import Form, constant, hexadecimal, name, optional, ruled, text
from privacy.ledger.log import canonical
from privacy.ledger.log.keys import verifies

__all__ = ["APART", "Request", "accept", "agree", "ask", "read_request"]

APART = ("shares", "bfv")
"""Schemes whose keys can be made apart, each by who uses it."""

_DOMAIN = b"inpatient enrolment request 1\x00"
_LARGEST = 1 << 28
_HOLDER_KEY = "holder.key"
ASKED = ".request.zip"
_LARGEST_ASKED = 1 << 16
_MOST_ASKED = 4


@dataclass(frozen=True)
class Request(Form):
    """What a site publishes of itself, in order to take part in one run.

    Attributes:
      site: Its name: a hospital's of the plan, ``aggregator`` or ``opener``.
      run: Name of the run.
      plan: Digest of the plan as it was drafted, in hex.
      public_key: Ed25519; the site's messages, ledger and rows are signed with it.
      box: X25519 of a holder, in hex; None: it holds nothing.
      sign: Ed25519 of a holder, in hex; likewise.
      vouched: The site's signature over its own holder's keys; likewise.
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
    box: str | None = ruled(optional(hexadecimal(64)), None)
    sign: str | None = ruled(optional(hexadecimal(64)), None)
    vouched: str | None = ruled(optional(hexadecimal(128)), None)
    sealer: str | None = ruled(optional(hexadecimal(64)), None)
    adder: str | None = ruled(optional(hexadecimal(64)), None)
    certificates: str | None = ruled(optional(hexadecimal(64)), None)
    signature: str = ruled(text(128, least=0), "")
    version: int = ruled(constant(1), 1)

    @property
    def statement(self) -> bytes:
        """What its signature covers."""
        return _DOMAIN + canonical.encode(self.to_json() | {"signature": ""})

    def signed(self, key: SigningKey) -> "Request":
        """Return it with the site's signature."""
        return replace(self, signature=key.sign(self.statement))

    @property
    def fingerprint(self) -> str:
        """What people compare by telephone: the digest of it, in groups."""
        digest = canonical.digest(canonical.encode(self.to_json()))[:32]
        return " ".join(digest[i : i + 4] for i in range(0, 32, 4))


def ask(
    folder: Path,
    plan: Plan,
    site: str,
    *,
    schedule: Schedule | None = None,
    detects: bool = False,
    ledgers: Path | None = None,
    certificates: Callable[[], Mapping[str, bytes]] | None = None,
) -> Request:
    """Make a site's keys, and what it publishes of them: ``request/`` in its folder.

    Args:
      folder: The site's; its keys go to ``keys/``, a holder's or opener's secret beside them.
      plan: As drafted; it names no keys yet.
      site: The site's name in the run.
      schedule: Which uploads are opened together; None: synchronous rounds.
      detects: As for ``deal``; all sites have to say the same.
      ledgers: Folder of ledgers and keys that outlive runs (``StandingLedgers``): a key that is
        there is the site's; None: a new one, in the site's folder.
      certificates: Makes the site's keys for the wire, and returns what asks for certificates, by
        the file's name; None: it meets nobody over a network.

    Raises:
      InvalidInputError: Keys of this run are there already, or the plan has no such site.
      RefusedError: The plan's scheme can't be begun like this.
    """
    _require_draft(plan, site)
    if (folder / "request").exists():
        raise InvalidInputError(f"{folder} has asked to take part already; take another folder.")
    own = folder / "keys" / f"{site}.key"
    key = SigningKey.create(own) if ledgers is None else StandingLedgers(ledgers).key(site)
    sizes = sizes_of(plan, schedule or Rounds(plan.hospitals, plan.rounds), detects=detects)
    request, files = Request(site, plan.run, plan.digest, key.public), dict[str, bytes]()
    if plan.scheme == "shares" and site in sizes.options["holders"]:
        secret = HolderSecret.generate()
        said = canonical.encode({"box": secret.box.hex(), "sign": secret.sign.hex()})
        create_durably(folder / _HOLDER_KEY, said, mode=0o600)
        public = secret.public
        vouched = vouch(plan.run, site, public, key)
        request = replace(request, box=public.box, sign=public.sign, vouched=vouched)
    if site == OPENER:
        scheme = make_scheme(plan.scheme, **sizes.settings)
        if not isinstance(scheme, Bfv):
            raise RefusedError(f"Under {plan.scheme!r} there is no opener.")
        files = {
            "sealer": scheme.sealer(plan.hospitals[0]).to_bytes(),
            "adder": scheme.adder().to_bytes(),
        }
        nobody = Policy(Roster(plan.run, {site: key.public}), min_honest=1, c_assumed=0)
        create_durably(folder / SECRET, scheme.opener(nobody).to_bytes(), mode=0o600)
        sealer, adder = (canonical.digest(content) for content in files.values())
        request = replace(request, sealer=sealer, adder=adder)
    if certificates is not None:
        asked = certificates()
        request = replace(request, certificates=_digest_of(asked))
        files |= asked
    request = request.signed(key)
    files["request.json"] = canonical.encode(request.to_json())
    for file, content in files.items():
        write_durably(folder / "request" / file, content)
    return request


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
        asked = {
            path.name: read_file(path, most=_LARGEST_ASKED, what="A certificate's request")
            for path in sorted(folder.glob(f"*{ASKED}"))[:_MOST_ASKED]
        }
        if _digest_of(asked) != request.certificates:
            raise CorruptMessageError(
                f"What asks for the certificates of {request.site!r} changed on the way. Have it "
                "sent again."
            )
        files |= asked
    return request, files


def agree(
    plan: Plan,
    requests: Sequence[tuple[Request, Mapping[str, bytes]]],
    *,
    schedule: Schedule | None = None,
    detects: bool = False,
    network: FlareNetwork | None = None,
) -> Agreed:
    """Put the requests of all sites together; it takes no secret.

    Args:
      plan: As drafted.
      requests: Of all sites, each as ``read_request`` returned it.
      schedule: As for ``ask``.
      detects: As for ``deal``.
      network: Where the sites meet; None: somebody carries between their sockets.

    Raises:
      RefusedError: A site is missing, is there twice or is none of the run's; a request is for
        another run or plan, or lacks what the site's part needs.
    """
    by_site = {request.site: (request, files) for request, files in requests}
    sizes = sizes_of(plan, schedule or Rounds(plan.hospitals, plan.rounds), detects=detects)
    openers = () if plan.scheme == "shares" else (OPENER,)
    expected = (*plan.hospitals, AGGREGATOR, *openers)
    if len(by_site) != len(requests) or set(by_site) != set(expected):
        missing = ", ".join(n for n in expected if n not in by_site) or "nobody"
        raise RefusedError(
            f"Expected one request of each of {', '.join(expected)}; missing: {missing}; got "
            f"{len(requests)} of {len(by_site)} sites."
        )
    for request, _ in requests:
        _require_draft(plan, request.site)
        if (request.run, request.plan) != (plan.run, plan.digest):
            raise RefusedError(
                f"The request of {request.site!r} is for run {request.run!r} and plan "
                f"{request.plan[:12]}; this is {plan.run!r} and {plan.digest[:12]}."
            )
        if (request.certificates is None) != (network is None):
            raise RefusedError(
                f"The site {request.site!r} asks for {'no' if network else 'a'} certificate, and "
                f"the run {'has' if network else 'has no'} network. All join with the same files."
            )
    keys = {site: request.public_key for site, (request, _) in by_site.items()}
    if len(set(keys.values())) != len(keys):
        raise RefusedError("Two sites ask under one key; each makes its own.")
    members = {hospital: keys[hospital] for hospital in plan.hospitals}
    if plan.scheme == "shares":
        material = _shares(plan, {s: r for s, (r, _) in by_site.items()}, sizes)
    else:
        came = by_site[OPENER][1]
        if not came.keys() >= {"sealer", "adder"}:
            raise RefusedError("The opener's request lacks its public material.")
        material = {file: came[file] for file in ("sealer", "adder")}
        _require_sizes(material, sizes)
    opener = keys[OPENER] if openers else ""
    parameters = load_sealer(material["sealer"], plan.hospitals[0]).parameters
    roster = Roster(plan.run, members, opener=opener)
    named = replace(plan, sealing=parameters.digest, roster=roster.digest)
    told = Members(plan.run, members, opener, keys[AGGREGATOR])
    return Agreed(named, told, material["sealer"], material["adder"], schedule, detects, network)


def accept(folder: Path, agreed: Agreed, site: str) -> None:
    """Find the site's own keys in an agreement, and install it in the site's folder.

    Raises:
      RefusedError: It is of another plan than the site asked for, or does not have its keys.
      CorruptMessageError: What the site kept of its request is damaged.
    """
    request, _ = read_request(folder / "request")
    drafted = replace(agreed.plan, sealing=None, roster=None)
    if request.site != site or drafted.digest != request.plan:
        raise RefusedError(
            f"The site asked to take part, as {request.site!r}, in the plan {request.plan[:12]}; "
            f"what came back is for {site!r} and the plan {drafted.digest[:12]}. Accept nothing, "
            "and ask the coordinator."
        )
    members = agreed.members
    named = {AGGREGATOR: members.aggregator, OPENER: members.opener, **members.hospitals}
    if named.get(site) != request.public_key:
        raise RefusedError(f"What came back has another key under the name of {site!r}.")
    sizes = sizes_of(agreed.plan, agreed.agreement.timing, detects=agreed.detects)
    _require_sizes({"sealer": agreed.sealer, "adder": agreed.adder}, sizes)
    if request.box is not None:
        content = _holder_material(folder, site)
        nobody = Policy(members.roster, min_honest=1, c_assumed=0)
        try:
            holder = Shares.load_holder(agreed.parameters, content, nobody)
        except CorruptMessageError as error:
            raise RefusedError(
                f"What came back has other holder's keys under the name of {site!r}: {error}"
            ) from error
        write_durably(folder / SECRET, holder.to_bytes(), mode=0o600)
    elif site == OPENER and canonical.digest(agreed.sealer) != request.sealer:
        raise RefusedError("What came back has another public key than the opener's own.")
    agreed.save(folder / "agreed")
    with suppress(FileNotFoundError):
        (folder / _HOLDER_KEY).unlink()  # it is in the secret now


def _digest_of(files: Mapping[str, bytes]) -> str:
    return canonical.digest(
        canonical.encode({name_: canonical.digest(content) for name_, content in files.items()})
    )


def _require_draft(plan: Plan, site: str) -> None:
    if plan.scheme not in APART:
        raise RefusedError(
            f"The scheme {plan.scheme!r} can't be begun by sites whose keys are made apart. Choose "
            "shares or bfv."
        )
    if plan.sealing is not None or plan.roster is not None:
        raise RefusedError("The plan names keys already; a draft names none.")
    if site not in (*plan.hospitals, AGGREGATOR, OPENER):
        raise InvalidInputError(
            f"The run has no site {site!r}; it has {', '.join(plan.hospitals)}, {AGGREGATOR} and, "
            f"under bfv, {OPENER}."
        )
    if site == OPENER and plan.scheme != "bfv":
        raise InvalidInputError(f"Under {plan.scheme!r} hospitals hold, and there is no {OPENER}.")


def _shares(plan: Plan, requests: Mapping[str, Request], sizes: SealingSizes) -> dict[str, bytes]:
    """The public material of ``shares`` from each holder's public half."""
    public, vouched = dict[str, HolderPublic](), dict[str, dict[str, str]]()
    for holder in sizes.options["holders"]:
        one = requests[holder]
        if one.box is None or one.sign is None or one.vouched is None:
            raise RefusedError(f"The request of {holder!r}, who is to hold, has no holder's keys.")
        public[holder] = HolderPublic(one.box, one.sign)
        vouched[holder] = {"by": holder, "signature": one.vouched}
    named = sizes.options
    quorum = Quorum(tuple(named["holders"]), named["threshold"], named["corrupt"])
    bare = Shares.public_parameters(
        quorum, public, dim=sizes.dim, contributors=sizes.contributors, bound=sizes.bound
    )
    parameters = replace(bare, settings={**bare.settings, "vouched": vouched})
    return {
        "sealer": Shares.load_sealer(parameters, b"", plan.hospitals[0]).to_bytes(),
        "adder": Shares.load_adder(parameters).to_bytes(),
    }


def _require_sizes(material: Mapping[str, bytes], sizes: SealingSizes) -> None:
    """Refuse material that was sized for another plan: its sums could wrap, or be of fewer."""
    found = load_adder(material["adder"]).parameters
    same = (found.dim, found.contributors) == (sizes.dim, sizes.contributors)
    # Another machine's last digit may make the bound larger by one, which harms nobody.
    if not same or found.bound < sizes.bound:
        raise RefusedError("The sealing parameters are not sized as the plan asks for.")
    quorum = {n: found.settings.get(n) for n in sizes.options}
    if quorum != {n: list(v) if isinstance(v, tuple) else v for n, v in sizes.options.items()}:
        raise RefusedError("The sealing parameters name another quorum than the plan asks for.")


def _holder_material(folder: Path, site: str) -> bytes:
    path = folder / _HOLDER_KEY
    try:
        told = parse_json(read_regular(path, largest=1 << 12, secret=True), what="A holder's key")
        keys = [site, str(told["box"]), str(told["sign"])]
    except OSError as error:
        raise RefusedError(f"{path} can't be read: {error.strerror}. Ask anew.") from error
    except (KeyError, TypeError) as error:
        raise CorruptMessageError(f"{path} is no holder's key.") from error
    return canonical.encode(keys) + b"\n"
