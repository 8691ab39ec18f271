"""How sites that don't trust each other begin a run: each makes its keys at home, and asks.

    coordinator   draft    the plan, without keys                                plan.json
    site          ask      makes its keys; publishes the public halves, signed   request/
    holder        publish  of ``threshold``, with all requests in hand           revealed/
    coordinator   agree    puts all of it together; has no secret                agreed/
    site          accept   finds its own keys in it, and installs it             agreed/, secret

No private key ever travels, and whoever puts requests together can only put in what was asked for:
each site compares the digest of what it accepted with the others', by another way than the one that
the files took. The schemes are ``shares``, whose holders are hospitals; ``threshold``, whose
holders make a joint key besides (``ceremony``); and ``bfv``, whose opener makes the key.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from aggregation.plan import Plan
from aggregation.roles.messages import AGGREGATOR, OPENER
from aggregation.sealing import Policy, Roster, load_adder, load_sealer, make_scheme
from aggregation.sealing.bfv import Bfv
from aggregation.sealing.quorum import HolderPublic, HolderSecret, Quorum, vouch
from aggregation.sealing.shares import Shares
from aggregation.sealing.threshold import Threshold
from aggregation.sites.agreed import Agreed, Members
from aggregation.sites.ceremony import PIECES, Ceremony, Reveal, Reveals, commit, joint_key, reveal
from aggregation.sites.flare_network import FlareNetwork
from aggregation.sites.request import (
    Request,
    Requests,
    digest_of,
    read_request,
    require_all,
    schedule_digest,
)
from aggregation.sites.site import SECRET
from aggregation.sized import SealingSizes, sizes_of
from aggregation.standing import StandingLedgers
from aggregation.timing import Rounds
from aggregation.timing.schedule import Schedule
from privacy._foreign import parse_json
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.files import create_durably, read_regular, write_durably
from privacy.ledger import SigningKey
from privacy.ledger.log import canonical

__all__ = ["APART", "accept", "agree", "ask", "publish"]

APART = ("shares", "threshold", "bfv")
"""Schemes whose keys can be made apart, each by who uses it."""

_HOLDER_KEY = "holder.key"


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
    key_path = folder / "keys" / f"{site}.key"
    key = SigningKey.create(key_path) if ledgers is None else StandingLedgers(ledgers).key(site)
    sizes = _sizes(plan, schedule, detects=detects)
    joins = schedule_digest(schedule)
    request, files = Request(site, plan.run, plan.digest, key.public, joins), dict[str, bytes]()
    if site in sizes.options.get("holders", ()):
        secret = HolderSecret.generate()
        said = canonical.encode({"box": secret.box.hex(), "sign": secret.sign.hex()})
        create_durably(folder / _HOLDER_KEY, said, mode=0o600)
        public = secret.public
        vouched = vouch(plan.run, site, public, key)
        request = replace(request, box=public.box, sign=public.sign, vouched=vouched)
        if plan.scheme == "threshold":
            request = replace(request, pieces=commit(folder, joint_key(plan, sizes), site))
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
        csrs = certificates()
        request = replace(request, certificates=digest_of(csrs))
        files |= csrs
    request = request.signed(key)
    files["request.json"] = canonical.encode(request.to_json())
    for file, content in files.items():
        write_durably(folder / "request" / file, content)
    return request


def publish(
    folder: Path,
    plan: Plan,
    requests: Requests,
    *,
    schedule: Schedule | None = None,
    detects: bool = False,
    ledgers: Path | None = None,
) -> Reveal:
    """Reveal a holder's pieces of a joint key, once all have asked: ``revealed/`` in its folder.

    Args:
      folder: The site's.
      plan: As drafted.
      requests: Of all sites, each as ``read_request`` returned it.
      schedule: As for ``ask``.
      detects: As for ``ask``.
      ledgers: As for ``ask``.

    Raises:
      RefusedError: The requests are not complete, or the site's own is not among them; the run has
        no joint key, or the site holds none of it; or it has revealed under other requests.
    """
    by_site, (request, _) = require_all(plan, schedule, requests), read_request(folder / "request")
    site = request.site
    if by_site.get(site) != request:
        raise RefusedError(
            f"The request of {site!r} among these is not the one that this site made. Reveal "
            "nothing, and ask the coordinator."
        )
    if plan.scheme != "threshold" or request.box is None:
        raise RefusedError(
            f"The site {site!r} has nothing to reveal: that is for the holders of the joint key of "
            "threshold alone."
        )
    path = folder / "keys" / f"{site}.key"
    key = SigningKey.load(path) if ledgers is None else StandingLedgers(ledgers).key(site)
    sizes = _sizes(plan, schedule, detects=detects)
    return reveal(folder, joint_key(plan, sizes), by_site, site, key)


def agree(
    plan: Plan,
    requests: Requests,
    reveals: Reveals = (),
    *,
    schedule: Schedule | None = None,
    detects: bool = False,
    network: FlareNetwork | None = None,
) -> Agreed:
    """Put the requests of all sites together; it takes no secret.

    Args:
      plan: As drafted.
      requests: Of all sites, each as ``read_request`` returned it.
      reveals: Of all holders of ``threshold``, each as ``read_reveal`` returned it.
      schedule: As for ``ask``.
      detects: As for ``deal``.
      network: Where the sites meet; None: somebody carries between their sockets.

    Raises:
      RefusedError: A site is missing, is there twice or is none of the run's; a request is for
        another run or plan, or lacks what the site's part needs; or as ``Ceremony``.
    """
    by_site = require_all(plan, schedule, requests)
    for request in by_site.values():
        _require_draft(plan, request.site)
        if (request.certificates is None) != (network is None):
            raise RefusedError(
                f"The site {request.site!r} asks for {'no' if network else 'a'} certificate, and "
                f"the run {'has' if network else 'has no'} network. All join with the same files."
            )
    members = {hospital: by_site[hospital].public_key for hospital in plan.hospitals}
    sizes = _sizes(plan, schedule, detects=detects)
    if reveals and plan.scheme != "threshold":
        raise RefusedError(
            f"Under {plan.scheme!r} there is nothing to reveal; give requests alone."
        )
    if plan.scheme == "shares":
        material = _shares(plan, by_site, sizes)
    elif plan.scheme == "threshold":
        ceremony = Ceremony(joint_key(plan, sizes), by_site, reveals)
        material = _threshold(by_site, ceremony)
    else:
        (came,) = (files for request, files in requests if request.site == OPENER)
        if not came.keys() >= {"sealer", "adder"}:
            raise RefusedError("The opener's request lacks its public material.")
        material = {file: came[file] for file in ("sealer", "adder")}
        _require_sizes(material, sizes)
    opener = by_site[OPENER].public_key if OPENER in by_site else ""
    parameters = load_sealer(material["sealer"], plan.hospitals[0]).parameters
    roster = Roster(plan.run, members, opener=opener)
    named = replace(plan, sealing=parameters.digest, roster=roster.digest)
    signers = Members(plan.run, members, opener, by_site[AGGREGATOR].public_key)
    return Agreed(named, signers, material["sealer"], material["adder"], schedule, detects, network)


def accept(
    folder: Path, agreed: Agreed, site: str, ceremony: tuple[Requests, Reveals] | None = None
) -> None:
    """Find the site's own keys in an agreement, and install it in the site's folder.

    Args:
      folder: The site's.
      agreed: What came back.
      site: The site's name.
      ceremony: What came with it of how a joint key was made, which each site checks itself.

    Raises:
      RefusedError: It is of another plan than the site asked for, or does not have its keys; or its
        joint key is not what the holders revealed, or a piece of it does not fit.
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
    if request.schedule != schedule_digest(agreed.schedule):
        raise RefusedError(
            "What came back has another schedule than the one that the site joined under: who is "
            "opened with whom, and what it costs, would be another. Accept nothing, and ask the "
            "coordinator."
        )
    members = agreed.members
    if members.key_of(site) != request.public_key:
        raise RefusedError(f"What came back has another key under the name of {site!r}.")
    sizes = sizes_of(agreed.plan, agreed.agreement.timing, detects=agreed.detects)
    _require_sizes({"sealer": agreed.sealer, "adder": agreed.adder}, sizes)
    held = b""
    if agreed.plan.scheme == "threshold":
        held = _checked(folder, agreed, drafted, request, ceremony or ((), ()))
    if request.box is not None:
        keys = _holder_secret(folder)
        content = canonical.encode([site, keys.box.hex(), keys.sign.hex()]) + b"\n" + held
        scheme = Threshold if agreed.plan.scheme == "threshold" else Shares
        nobody = Policy(members.roster, min_honest=1, c_assumed=0)
        try:
            holder = scheme.load_holder(agreed.parameters, content, nobody)
        except CorruptMessageError as error:
            raise RefusedError(
                f"What came back has other holder's keys under the name of {site!r}: {error}"
            ) from error
        write_durably(folder / SECRET, holder.to_bytes(), mode=0o600)
    elif site == OPENER and canonical.digest(agreed.sealer) != request.sealer:
        raise RefusedError("What came back has another public key than the opener's own.")
    agreed.save(folder / "agreed")
    for file in (_HOLDER_KEY, PIECES):  # they are in the secret now
        with suppress(FileNotFoundError):
            (folder / file).unlink()


def _require_draft(plan: Plan, site: str) -> None:
    if plan.scheme not in APART:
        raise RefusedError(
            f"The scheme {plan.scheme!r} can't be begun by sites whose keys are made apart. Choose "
            f"one of {', '.join(APART)}."
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


def _sizes(plan: Plan, schedule: Schedule | None, *, detects: bool) -> SealingSizes:
    return sizes_of(plan, schedule or Rounds(plan.hospitals, plan.rounds), detects=detects)


def _checked(
    folder: Path, agreed: Agreed, drafted: Plan, request: Request, came: tuple[Requests, Reveals]
) -> bytes:
    """Make the joint key again from what all have said; return the site's own pieces of it."""
    if not came[0]:
        raise RefusedError(
            "What came back does not have beside it how its joint key was made. Have the whole "
            "folder sent again."
        )
    by_site, members = require_all(drafted, agreed.schedule, came[0]), agreed.members
    others = [site for site, one in by_site.items() if members.key_of(site) != one.public_key]
    if others or by_site[request.site] != request:
        raise RefusedError(
            f"The joint key was made with other requests than those of this run's sites "
            f"({', '.join(others) or request.site}). Accept nothing, and ask the coordinator."
        )
    sizes = _sizes(drafted, agreed.schedule, detects=agreed.detects)
    # As was agreed: another machine's last digit may make the bound larger by one.
    key = joint_key(drafted, replace(sizes, bound=agreed.parameters.bound))
    ceremony = Ceremony(key, by_site, came[1])
    if _threshold(by_site, ceremony) != {"sealer": agreed.sealer, "adder": agreed.adder}:
        raise RefusedError(
            "The joint key that came back is not the sum of what the holders revealed. Accept "
            "nothing, and ask the coordinator."
        )
    return (
        b"" if request.box is None else ceremony.held(folder, request.site, _holder_secret(folder))
    )


def _holders(
    requests: Mapping[str, Request], names: Sequence[str]
) -> tuple[dict[str, HolderPublic], dict[str, dict[str, str]]]:
    """The public keys of the holders, and who vouches for them."""
    public, vouched = dict[str, HolderPublic](), dict[str, dict[str, str]]()
    for holder in names:
        one = requests[holder]
        if one.box is None or one.sign is None or one.vouched is None:
            raise RefusedError(f"The request of {holder!r}, who is to hold, has no holder's keys.")
        public[holder] = HolderPublic(one.box, one.sign)
        vouched[holder] = {"by": holder, "signature": one.vouched}
    return public, vouched


def _shares(plan: Plan, requests: Mapping[str, Request], sizes: SealingSizes) -> dict[str, bytes]:
    """The public material of ``shares`` from each holder's public half."""
    named = sizes.options
    public, vouched = _holders(requests, named["holders"])
    quorum = Quorum(tuple(named["holders"]), named["threshold"], named["corrupt"])
    bare = Shares.public_parameters(
        quorum, public, dim=sizes.dim, contributors=sizes.contributors, bound=sizes.bound
    )
    parameters = replace(bare, settings={**bare.settings, "vouched": vouched})
    return {
        "sealer": Shares.load_sealer(parameters, b"", plan.hospitals[0]).to_bytes(),
        "adder": Shares.load_adder(parameters).to_bytes(),
    }


def _threshold(requests: Mapping[str, Request], ceremony: Ceremony) -> dict[str, bytes]:
    """The public material of ``threshold`` from each holder's public half and the joint key."""
    public, vouched = _holders(requests, ceremony.key.quorum.names)
    bare = ceremony.key.parameters(public, ceremony.public)
    parameters = replace(bare, settings={**bare.settings, "vouched": vouched})
    return {
        "sealer": Threshold.load_sealer(parameters, ceremony.public, next(iter(public))).to_bytes(),
        "adder": Threshold.load_adder(parameters).to_bytes(),
    }


def _require_sizes(material: Mapping[str, bytes], sizes: SealingSizes) -> None:
    """Refuse material that was sized for another plan: its sums could wrap, or be of fewer."""
    parameters = load_adder(material["adder"]).parameters
    same = (parameters.dim, parameters.contributors) == (sizes.dim, sizes.contributors)
    # Another machine's last digit may make the bound larger by one, which harms nobody.
    if not same or parameters.bound < sizes.bound:
        raise RefusedError("The sealing parameters are not sized as the plan asks for.")
    quorum = {n: parameters.settings.get(n) for n in sizes.options}
    if quorum != {n: list(v) if isinstance(v, tuple) else v for n, v in sizes.options.items()}:
        raise RefusedError("The sealing parameters name another quorum than the plan asks for.")


def _holder_secret(folder: Path) -> HolderSecret:
    path = folder / _HOLDER_KEY
    try:
        fields = parse_json(read_regular(path, largest=1 << 12, secret=True), what="A holder's key")
        return HolderSecret(bytes.fromhex(fields["box"]), bytes.fromhex(fields["sign"]))
    except OSError as error:
        raise RefusedError(f"{path} can't be read: {error.strerror}. Ask anew.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptMessageError(f"{path} is no holder's key.") from error
