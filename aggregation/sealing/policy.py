"""The opening policy: which sums an opener opens.

The opener holds the policy itself. A server that lies about who contributed, that repeats a
contribution, or that asks for a sum of too few meets it before any secret is used.
"""

from collections import Counter
from collections.abc import Sequence

from aggregation.sealing.contribution import Contribution
from aggregation.sealing.openings import Opening, OpeningLog
from aggregation.sealing.parameters import Parameters
from aggregation.sealing.proposal import Proposal
from aggregation.sealing.roster import Roster
from privacy._validate import natural
from privacy.errors import RefusedError

__all__ = ["Policy"]


class Policy:
    """What an opener demands of a sum before it uses its secret.

    Guarantees (each is a test in ``tests/aggregation/sealing/test_policy.py``): a sum is opened
    only if
      - every contribution names this run, these parameters and an enrolled hospital, whose
        signature over the very bytes is valid;
      - no contribution is in it twice, and none was in any sum opened before, under its own
        nonce or as a copy under another's name;
      - of each hospital's upload on one version of the model one is opened, ever, under any nonce;
      - all uploads on one version of the model were computed on the same parameters: who was told
        another sum than the others is in none with them;
      - each hospital's ledger head extends the last one that was seen in an opened sum here, so
        that of two copies of one ledger one goes on;
      - at least ``min_honest + c_assumed`` distinct hospitals contributed, none of them more often
        than ``repeats``;
      - it holds no more contributions than the parameters were chosen for;
      - fewer than ``openings_per_key`` sums were opened under the key.

    Every opening is in the log before the secret is used: after a crash the sum is lost, not
    opened twice.

    Args:
      roster: The hospitals whose signatures count.
      min_honest: Honest contributions that the noise was sized for.
      c_assumed: Hospitals that may collude.
      repeats: Most contributions of one hospital in one sum. r of them move the sum by r times the
        clip norm, so that the noise has to be sized for ``repeats``.
      log: Where openings are recorded; None: in memory.
      openings_per_key: Openings after which a new key is demanded; None: no limit.
      require_ledger_head: Whether each contribution must name its hospital's ledger head.
    """

    def __init__(
        self,
        roster: Roster,
        *,
        min_honest: int,
        c_assumed: int,
        repeats: int = 1,
        log: OpeningLog | None = None,
        openings_per_key: int | None = None,
        require_ledger_head: bool = False,
    ) -> None:
        self.roster = roster
        self.min_honest = natural(min_honest=min_honest, least=1)
        self.c_assumed = natural(c_assumed=c_assumed)
        self.repeats = natural(repeats=repeats, least=1)
        self.log = OpeningLog() if log is None else log
        self.openings_per_key = openings_per_key
        self.require_ledger_head = require_ledger_head

    def check(self, contributions: Sequence[Contribution], parameters: Parameters) -> None:
        """Refuse what may not be opened; writes nothing and uses no secret.

        Raises:
          RefusedError: With the rule that was broken, and by whom.
          CorruptMessageError: A signature does not fit its contribution.
        """
        if len(contributions) > parameters.contributors:
            raise RefusedError(
                f"A sum of {len(contributions)} contributions was asked for; the parameters were "
                f"chosen for at most {parameters.contributors}, beyond which it could open wrongly."
            )
        digest = parameters.digest
        for contribution in contributions:
            self._check_one(contribution, digest)
        nonces = Counter((c.hospital, c.nonce) for c in contributions)
        if twice := sorted({hospital for (hospital, _), count in nonces.items() if count > 1}):
            raise RefusedError(
                f"A contribution of {', '.join(twice)} is in this sum more than once; its noise "
                "would be scaled with it."
            )
        self._check_copies(contributions)
        self._check_models(contributions)
        with self.log.lock():
            self._check_unopened(contributions)
            self._check_key(digest)
        often = Counter(c.hospital for c in contributions)
        for name, count in often.items():
            if count > self.repeats:
                raise RefusedError(
                    f"{name!r} is in this sum {count} times; its noise was sized for "
                    f"{self.repeats}. A patient of it would move the sum {count} times as far as "
                    "one contribution does. Open one of them in a later sum."
                )
        distinct = len(often)
        needed = self.min_honest + self.c_assumed
        if distinct < needed:
            raise RefusedError(
                f"This sum holds contributions of {distinct} distinct hospitals; {needed} are "
                f"needed ({self.min_honest} honest and {self.c_assumed} that may collude). Wait "
                "for "
                "more."
            )

    def record(
        self, contributions: Sequence[Contribution], total: str, proposal: Proposal | None = None
    ) -> Opening:
        """Write the opening down; call it after ``check`` and before the secret is used.

        Raises:
          RefusedError: Another who shares the log has opened one of them since ``check``, another
            sum has the proposal's number, or the disk refuses.
        """
        with self.log.lock():
            self._check_unopened(contributions)
            self._check_key(contributions[0].parameters)
            self.require_extended(contributions)
            return self.log.append(contributions, total, proposal)

    def rolled_back(self, contributions: Sequence[Contribution]) -> tuple[str, ...]:
        """Return the hospitals whose ledger head does not extend the last one seen of them.

        A hospital that names an older one than was seen here has been taken back to an old copy of
        its ledger, or there are two of it. Where a newer one is named, this log has missed an
        opening, and others have to judge it.
        """
        return tuple(c.hospital for c in contributions if not self._extends(c))

    def require_extended(self, contributions: Sequence[Contribution]) -> None:
        """Refuse a sum that ``rolled_back`` finds hospitals in.

        Raises:
          RefusedError: With their names.
        """
        if names := self.rolled_back(contributions):
            raise RefusedError(
                f"The ledger head of {', '.join(names)} does not extend the last one that came "
                "with an opened sum: it is an old copy of the ledger, or there are two. Let the "
                "newest copy send, and end the other."
            )

    def _extends(self, contribution: Contribution) -> bool:
        head, since = contribution.head, contribution.extends
        seen = self.log.seen(contribution.hospital)
        if head is None or seen is None:
            return head is None or since is None or since.leads_to(head)
        if since is None or head.ledger != seen.ledger or since.size < seen.size:
            return False
        unlike = since.size == seen.size and since.root != seen.root
        return not unlike and head.size > since.size and since.leads_to(head)

    def fork(self, name: str) -> "Policy":
        """Return the same rules with a log of its own, for one of several holders."""
        return Policy(
            self.roster,
            min_honest=self.min_honest,
            c_assumed=self.c_assumed,
            repeats=self.repeats,
            log=self.log.fork(name),
            openings_per_key=self.openings_per_key,
            require_ledger_head=self.require_ledger_head,
        )

    def _check_unopened(self, contributions: Sequence[Contribution]) -> None:
        """Refuse what the log holds already; whoever calls it holds the log's lock."""
        spent = self.log.spent((c.hospital, c.nonce) for c in contributions)
        if spent:
            names = sorted({hospital for hospital, _ in spent})
            raise RefusedError(
                f"Contributions of {', '.join(names)} were in a sum opened before; the difference "
                "of two sums would show the rest. Each contribution is opened once."
            )
        first = contributions[0].run if contributions else ""
        again = self.log.uploads(first, ((c.hospital, c.base_version) for c in contributions))
        if again:
            said = ", ".join(f"{hospital} on version {base}" for hospital, base in sorted(again))
            raise RefusedError(
                f"Another upload of {said} was in a sum opened before. Each is opened once, under "
                "whatever nonce it comes."
            )
        opened = set(self.log.opened([c.ciphertext for c in contributions]))
        for contribution in contributions:
            if contribution.ciphertext in opened:
                raise _copied(contribution)

    @staticmethod
    def _check_models(contributions: Sequence[Contribution]) -> None:
        first: dict[int, Contribution] = {}
        for c in contributions:
            other = first.setdefault(c.base_version, c)
            if other.model != c.model:
                raise RefusedError(
                    f"{other.hospital!r} and {c.hospital!r} have computed updates on different "
                    f"models of version {c.base_version} ({str(other.model)[:12]} and "
                    f"{str(c.model)[:12]}): they were told different sums, or one of them makes it "
                    "up. Nothing is opened; have them compare what they were told."
                )

    def _check_copies(self, contributions: Sequence[Contribution]) -> None:
        often = Counter(c.ciphertext for c in contributions)
        for contribution in contributions:
            if often[contribution.ciphertext] > 1:
                raise _copied(contribution)

    def _check_one(self, contribution: Contribution, digest: str) -> None:
        name = contribution.hospital
        self.roster.recognise(contribution, digest)
        if self.require_ledger_head and contribution.ledger_head is None:
            raise RefusedError(
                f"The contribution of {name!r} names no ledger head; nobody could tell later that "
                "it "
                "was paid for."
            )

    def _check_key(self, digest: str) -> None:
        if self.openings_per_key is None:
            return
        opened = sum(o.parameters == digest for o in self.log.openings)
        if opened >= self.openings_per_key:
            raise RefusedError(
                f"{opened} sums were opened under this key, as many as the policy allows. Make a "
                "new "
                "key (make_scheme) and have the hospitals seal under it."
            )


def _copied(contribution: Contribution) -> RefusedError:
    return RefusedError(
        f"The sealed update of {contribution.hospital!r} is a copy of another: it would count "
        "twice, and its noise with it. Each hospital seals its own."
    )
