"""The ceremony in which the holders of ``threshold`` make their joint key, by files; nobody deals.

    join     who leads pieces of the key draws them; its request commits to their public halves
    reveal   with all requests in hand: publishes them, and boxes each secret for who holds it too
    agree    adds the public halves; has no secret
    accept   every site checks all of it; a holder opens its boxes, and sees that each piece fits

What a holder reveals is signed with the digest of all requests that it saw. So a commitment that
was made after somebody had revealed stands in another set than the one that was signed under, and
every site refuses it, whatever the coordinator shows to whom: pieces that went to other keys than
those that were agreed on are of no key that anybody seals under.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aggregation.plan import Plan
from aggregation.sealing.boxes import OVERHEAD, open_box, seal_box
from aggregation.sealing.joint_key import JointKey
from aggregation.sealing.quorum import HolderSecret, Quorum
from aggregation.sites.request import Request, Requests, read_request, set_digest
from aggregation.sized import SealingSizes
from privacy._foreign import parse_json, read_file
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.files import create_durably, read_regular, write_durably
from privacy.ledger import SigningKey
from privacy.ledger.forms import Form, constant, hexadecimal, name, ruled, text
from privacy.ledger.log import canonical
from privacy.ledger.log.keys import verifies

__all__ = [
    "PIECES",
    "REVEAL",
    "Ceremony",
    "Reveal",
    "Reveals",
    "commit",
    "joint_key",
    "load_ceremony",
    "read_reveal",
    "reveal",
    "save_ceremony",
]

PIECES = "holder.pieces"
"""File of a site's folder: the pieces that it drew, and their public halves."""

REVEAL = "reveal.json"
_CONTENT = "revealed.key"
_MARK = "revealed.under"
_DOMAIN = b"inpatient key reveal 1\x00"
_USE = b"inpatient key piece box v1"
_LARGEST = 1 << 26
_MOST_SITES = 1 << 10


@dataclass(frozen=True)
class Reveal(Form):
    """What a holder publishes of a joint key when it has seen everybody's request.

    Attributes:
      site: The holder.
      run: Name of the run.
      requests: Digest of all requests that it saw (``set_digest``).
      content: SHA-256 of what lies beside it: the public halves of the pieces that it leads, and
        for each other holder of some of them a box with these.
      signature: The site's, over all of the above.
      version: Of this form.
    """

    site: str = ruled(name())
    run: str = ruled(name())
    requests: str = ruled(hexadecimal(64))
    content: str = ruled(hexadecimal(64))
    signature: str = ruled(text(128, least=0), "")
    version: int = ruled(constant(1), 1)

    @property
    def statement(self) -> bytes:
        """What its signature covers."""
        return _DOMAIN + canonical.encode(self.to_json() | {"signature": ""})


Reveals = Sequence[tuple[Reveal, bytes]]
"""Of several holders, each with its content."""


def joint_key(plan: Plan, sizes: SealingSizes) -> JointKey:
    """Return what the pieces of a run's joint key have in common.

    Args:
      plan: As drafted: the common polynomial is hashed out of its digest.
      sizes: What its sums ask of their sealing.
    """
    named = sizes.options
    quorum = Quorum(tuple(named["holders"]), named["threshold"], named["corrupt"])
    openings = named["openings"]
    return JointKey(sizes.dim, sizes.contributors, sizes.bound, quorum, openings, plan.digest)


def commit(folder: Path, key: JointKey, site: str) -> str | None:
    """Draw the pieces that a site leads, into its folder; return what it commits to, if any.

    Raises:
      OSError: The disk refuses, or there are pieces already.
    """
    if not key.led_by(site):
        return None
    secrets, published = key.draw(site)
    create_durably(folder / PIECES, secrets.astype(np.int8).tobytes() + published, mode=0o600)
    return key.commitment(site, published)


def reveal(
    folder: Path, key: JointKey, requests: Mapping[str, Request], site: str, signing_key: SigningKey
) -> Reveal:
    """Publish the pieces that a site leads, and box them for who holds them too.

    Args:
      folder: The site's.
      key: Of the run.
      requests: Of all sites (``require_all``).
      site: The holder.
      signing_key: What it signs with.

    Raises:
      RefusedError: It has revealed them under other requests, or one lacks a holder's key.
      CorruptMessageError: What it drew is damaged, or a holder's key is none.
    """
    seen = set_digest(requests)
    _mark(folder / _MARK, seen)
    secrets, content = _drawn(folder, key, site)
    led = key.led_by(site)
    for other, given in _boxes(key, site).items():
        box = requests[other].box
        if box is None:
            raise RefusedError(f"The request of {other!r}, who is to hold, has no holder's keys.")
        rows = secrets[[led.index(piece) for piece in given]].astype(np.int8).tobytes()
        content += seal_box(rows, box, use=_USE, bound=_bound(seen, site, other))
    said = Reveal(site, requests[site].run, seen, canonical.digest(content))
    said = replace(said, signature=signing_key.sign(said.statement))
    write_durably(folder / "revealed" / _CONTENT, content)
    write_durably(folder / "revealed" / REVEAL, canonical.encode(said.to_json()))
    return said


def read_reveal(folder: Path) -> tuple[Reveal, bytes]:
    """Read what ``reveal`` published.

    Raises:
      CorruptMessageError: Something else; whose it is, is not judged here.
    """
    reveal_json = read_file(folder / REVEAL, most=1 << 12, what="What a holder reveals")
    content = read_file(folder / _CONTENT, most=_LARGEST, what="What a holder reveals")
    try:
        said = Reveal.from_json(parse_json(reveal_json, what="What a holder reveals"))
    except InvalidInputError as error:
        raise CorruptMessageError(f"{folder} holds nothing that was revealed: {error}") from error
    if canonical.digest(content) != said.content:
        raise CorruptMessageError(
            f"What {said.site!r} revealed changed on the way. Have it sent again."
        )
    return said, content


class Ceremony:
    """All that was said in a ceremony, checked; what is missing, changed or replayed is refused.

    Attributes:
      key: What its pieces have in common.
      public: The joint key.

    Args:
      key: Of the run.
      requests: Of all sites (``require_all``).
      reveals: Of all holders.

    Raises:
      RefusedError: A reveal is missing, is there twice, is not its holder's word, was made under
        other requests, or is not what its holder had committed to.
      CorruptMessageError: It has another form.
    """

    def __init__(self, key: JointKey, requests: Mapping[str, Request], reveals: Reveals) -> None:
        self.key, self._seen = key, set_digest(requests)
        came = {said.site: (said, content) for said, content in reveals}
        if len(came) != len(reveals) or set(came) != set(key.quorum.names):
            missing = ", ".join(n for n in key.quorum.names if n not in came) or "nobody"
            raise RefusedError(
                f"Expected what each of {', '.join(key.quorum.names)} reveals of the joint key; "
                f"missing: {missing}; got {len(reveals)} of {len(came)} sites. Each runs, with all "
                "requests: inpatient deploy reveal."
            )
        self._content: dict[str, bytes] = {}
        for holder, (said, content) in came.items():
            request = requests[holder]
            if not verifies(request.public_key, said.signature, said.statement):
                raise RefusedError(
                    f"What came as revealed by {holder!r} is not signed with the key that its "
                    "request names. Have it sent again."
                )
            if (said.run, said.requests) != (request.run, self._seen):
                raise RefusedError(
                    f"{holder!r} revealed its pieces of the joint key under other requests than "
                    "these: an earlier try's, or somebody was shown others. Have all of them sent "
                    "again; if it is no mistake, begin anew, with new requests of all sites."
                )
            if canonical.digest(content) != said.content or len(content) != _size(key, holder):
                raise RefusedError(
                    f"What {holder!r} revealed changed on the way, or has another size than its "
                    "pieces of the joint key. Have it sent again."
                )
            self._content[holder] = content
        committed = {n: r.pieces for n, r in requests.items() if r.pieces is not None}
        self.public = key.joined({n: self._published(n) for n in key.quorum.names}, committed)

    def held(self, folder: Path, holder: str, secret: HolderSecret) -> bytes:
        """Return all pieces that a site holds, each of which fits, in the quorum's order.

        Args:
          folder: The site's, with the pieces that it drew.
          holder: The site.
          secret: Its holder's keys.

        Raises:
          RefusedError: One can't be had, or does not fit.
          CorruptMessageError: What the site drew is damaged.
        """
        pieces: dict[int, NDArray[np.int64]] = {}
        for leader in self.key.quorum.names:
            given = self.key.given(leader, holder)
            if not given:
                continue
            if leader == holder:
                rows, _ = _drawn(folder, self.key, holder)
            else:
                rows = self._opened(leader, holder, secret)
            for piece, row in zip(given, rows, strict=True):
                if not self.key.fits(leader, piece, row, self._published(leader)):
                    raise _between(leader, holder, f"piece {piece} does not fit its public half")
                pieces[piece] = row
        order = self.key.quorum.held_by(holder)
        return b"".join(pieces[piece].astype(np.int8).tobytes() for piece in order)

    def _published(self, leader: str) -> bytes:
        return self._content[leader][: self.key.piece_size * len(self.key.led_by(leader))]

    def _opened(self, leader: str, holder: str, secret: HolderSecret) -> NDArray[np.int64]:
        degree, start = self.key.layout.ring.degree, len(self._published(leader))
        for other, given in _boxes(self.key, leader).items():
            end = start + degree * len(given) + OVERHEAD
            if other == holder:
                break
            start = end
        bound = _bound(self._seen, leader, holder)
        try:
            rows = open_box(self._content[leader][start:end], secret.box, use=_USE, bound=bound)
            return _read_pieces(rows, len(given), degree)
        except CorruptMessageError as error:
            raise _between(leader, holder, str(error)) from error


def save_ceremony(folder: Path, requests: Requests, reveals: Reveals) -> None:
    """Write all that was said into a folder, which goes to every site.

    Raises:
      OSError: The disk refuses.
    """
    for request, files in requests:
        write_durably(folder / request.site / "request.json", canonical.encode(request.to_json()))
        for file, content in files.items():
            write_durably(folder / request.site / file, content)
    for said, content in reveals:
        write_durably(folder / said.site / _CONTENT, content)
        write_durably(folder / said.site / REVEAL, canonical.encode(said.to_json()))


def load_ceremony(folder: Path) -> tuple[Requests, Reveals]:
    """Read what ``save_ceremony`` wrote, or as much of it as is there.

    Raises:
      CorruptMessageError: Something has another form, or far too much is there.
    """
    sites = sorted(path for path in folder.glob("*") if path.is_dir())
    if len(sites) > _MOST_SITES:
        raise CorruptMessageError(f"{folder} holds more than {_MOST_SITES} sites.")
    holders = [site for site in sites if (site / REVEAL).exists()]
    return [read_request(site) for site in sites], [read_reveal(site) for site in holders]


def _boxes(key: JointKey, leader: str) -> dict[str, tuple[int, ...]]:
    """Return what a leader boxes for whom, in order."""
    given = {name: key.given(leader, name) for name in key.quorum.names if name != leader}
    return {name: pieces for name, pieces in given.items() if pieces}


def _size(key: JointKey, leader: str) -> int:
    """Bytes of what a holder reveals."""
    boxes = _boxes(key, leader).values()
    whole = sum(OVERHEAD + key.layout.ring.degree * len(pieces) for pieces in boxes)
    return key.piece_size * len(key.led_by(leader)) + whole


def _mark(path: Path, seen: str) -> None:
    """Write down under which requests a site reveals: once, before anything is published."""
    try:
        create_durably(path, seen.encode())
    except FileExistsError as error:
        if read_file(path, most=1 << 8, what="The mark") != seen.encode():
            raise RefusedError(
                "This site has revealed its pieces of the joint key under other requests. Whoever "
                "saw them could make a key that opens alone: begin anew, with new requests "
                "of all sites."
            ) from error


def _drawn(folder: Path, key: JointKey, site: str) -> tuple[NDArray[np.int64], bytes]:
    """What ``commit`` drew: secrets and public halves."""
    count, degree = len(key.led_by(site)), key.layout.ring.degree
    if not count:
        return np.zeros((0, degree), dtype=np.int64), b""
    try:
        content = read_regular(folder / PIECES, largest=_LARGEST, secret=True)
    except OSError as error:
        raise RefusedError(f"{folder / PIECES} can't be read: {error.strerror}.") from error
    secrets = _read_pieces(content[: count * degree], count, degree)
    return secrets, content[count * degree :]


def _read_pieces(content: bytes, count: int, degree: int) -> NDArray[np.int64]:
    if len(content) != count * degree:
        raise CorruptMessageError("These are not so many pieces of the joint secret.")
    return np.frombuffer(content, dtype=np.int8).astype(np.int64).reshape(count, degree)


def _bound(seen: str, leader: str, holder: str) -> bytes:
    return canonical.encode([seen, leader, holder])


def _between(leader: str, holder: str, what: str) -> RefusedError:
    if leader == holder:
        return RefusedError(
            f"What {holder!r} kept of the pieces that it drew is not what it published: {what}. "
            "Its disk may be damaged. Install nothing; begin anew, with new requests of all sites."
        )
    return RefusedError(
        f"Between {leader!r}, who drew a piece of the joint key, and {holder!r}, who holds it too, "
        f"something went wrong: {what}. Which of the two it was is not seen from here. Install "
        "nothing; begin anew, with new requests of all sites."
    )
