"""Why a sum is believed: the signed words of those who opened it, and who judges them.

A server relays openings; it is no source. What it hands on is judged by everybody for himself: the
proposal's place in the run's chain, a quorum's commitments to it, and an answer to every part of
it, from which whoever judges combines the sum.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aggregation.plan import Plan
from aggregation.roles.messages import OPENER, holder_address, pack, read_integers, unpack
from aggregation.sealing import Parameters, Roster
from aggregation.sealing.answers import SUM, Answer, Commitment, Parts, digests_of
from aggregation.sealing.holders import QuorumScheme
from aggregation.sealing.proposal import Place, Proposal
from aggregation.sealing.quorum import read_quorum, require_vouched
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger.log import canonical

__all__ = ["Evidence", "Judge"]

_MOST = 1 << 12  # parts of an opening
_Asked = tuple[bytes, Place, bytes | None]


@dataclass(frozen=True)
class Evidence:
    """What was said about one opening.

    Attributes:
      proposal: What was to be opened.
      commitments: Of holders; none where one party has the key.
      answers: Signed digests of parts.
      total: The sealed sum.
      parts: What was answered, each part once; none where one party has the key, whose only part
        is the sum itself.
    """

    proposal: Proposal
    commitments: tuple[Commitment, ...]
    answers: tuple[Answer, ...]
    total: bytes = field(default=b"", repr=False)
    parts: Parts = field(default_factory=dict, repr=False)

    def to_bytes(self) -> bytes:
        """Return what travels."""
        said = {
            "proposal": self.proposal.to_json(),
            "commitments": [c.to_json() for c in self.commitments],
            "answers": [a.to_json() for a in self.answers],
            "parts": list(self.parts),
        }
        return pack([canonical.encode(said), self.total, *self.parts.values()])

    @classmethod
    def from_bytes(cls, content: bytes) -> "Evidence":
        """Read what ``to_bytes`` wrote.

        Raises:
          CorruptMessageError: Any departure from it.
        """
        sections = unpack(content, most=2 + _MOST)
        if len(sections) < 2:
            raise CorruptMessageError("The evidence of an opening is truncated.")
        said, total, *contents = sections
        document = canonical.decode(said)
        names = {"proposal", "commitments", "answers", "parts"}
        if not isinstance(document, dict) or document.keys() != names:
            raise CorruptMessageError("These bytes are no evidence of an opening.")
        lists = [document[name] for name in ("commitments", "answers", "parts")]
        if not all(isinstance(values, list) and len(values) <= _MOST for values in lists):
            raise CorruptMessageError("The evidence of an opening has something else than lists.")
        commitments, answers, parts = lists
        whole = all(isinstance(part, str) for part in parts) and len(set(parts)) == len(parts)
        if not whole or len(parts) != len(contents):
            raise CorruptMessageError(
                f"The evidence of an opening names {len(parts)} parts and has {len(contents)}."
            )
        return cls(
            Proposal.from_bytes(canonical.encode(document["proposal"])),
            tuple(Commitment.from_json(value) for value in commitments),
            tuple(Answer.from_json(value) for value in answers),
            total,
            dict(zip(parts, contents, strict=True)),
        )


class Judge:
    """Decides from signed words alone what an opening opened; it has no secret.

    Guarantees (each is a test in ``tests/aggregation/roles/test_judge.py``):
      - an opening of another run, plan, number or past is refused, and one of too few hospitals;
      - what no quorum committed to, what its holder or opener did not sign, and what lacks a part
        is refused, in words that say what is missing or wrong, and of whom;
      - where ``corrupt + 1`` holders answer for each part, a lie of up to ``corrupt`` of them is
        seen; where fewer do, it is not, unless ``detects`` refuses such an opening. Nobody is
        blamed for it.

    Args:
      roster: Whose signatures count, the opener's included where one party has the key.
      parameters: The run's sealing parameters, which name the holders and their keys.
      scheme: The scheme's class where holders open; None: one party has the key.
      least: Distinct hospitals that a sum holds at least.
      repeats: Contributions of one hospital that it holds at most.
      detects: Whether to refuse an opening in which fewer than ``corrupt + 1`` holders answer for
        a part: then up to ``corrupt`` liars are always seen, and fewer may be lost.

    Raises:
      RefusedError: ``detects`` under a scheme whose words can't be compared, or with too few
        holders for it.
    """

    def __init__(
        self,
        roster: Roster,
        parameters: Parameters,
        *,
        scheme: type[QuorumScheme] | None = None,
        least: int = 1,
        repeats: int = 1,
        detects: bool = False,
    ) -> None:
        self.run = roster.run
        self.roster = roster
        self.parameters = parameters
        self.scheme = scheme
        self._least = least
        self._repeats = repeats
        self._detects = detects
        if detects:
            self._require_detecting()
        self._last: tuple[_Asked, tuple[Proposal, NDArray[np.int64]]] | None = None

    def _require_detecting(self) -> None:
        """Refuse to promise that lies are seen where no two say the same thing."""
        if self.scheme is None or not self.scheme.compared:
            raise RefusedError(
                f"Under {self.parameters.scheme!r} no two parties say the same thing, so that a "
                "lie can't be seen in their words. Choose shares, or don't demand it."
            )
        quorum, _ = read_quorum(self.parameters, self.scheme.label)
        if len(quorum.names) - quorum.threshold < quorum.corrupt:
            raise RefusedError(
                f"Each piece is held by {len(quorum.names) - quorum.threshold + 1} of "
                f"{len(quorum.names)} holders; to see a lie of {quorum.corrupt} it takes "
                f"{quorum.corrupt + 1}. Take {3 * quorum.corrupt + 1} holders or more, of whom "
                f"{2 * quorum.corrupt + 1} open."
            )

    @property
    def witnesses(self) -> tuple[Mapping[str, str], int]:
        """Public keys of those who open, by name, and how many of them open a sum."""
        if self.scheme is None:
            return {OPENER: self.roster.opener}, 1
        quorum, public = read_quorum(self.parameters, self.scheme.label)
        return {name: keys.sign for name, keys in public.items()}, quorum.threshold

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where messages to those who open go."""
        names, _ = self.witnesses
        return tuple(names) if self.scheme is None else tuple(map(holder_address, names))

    def require_named(self, plan: Plan) -> None:
        """Refuse to work under keys that the plan does not name, or that nobody vouches for.

        Whoever hands out public material could hand out its own, and open what is sealed under it.

        Raises:
          RefusedError: The plan names other parameters or another roster, or no member of the
            roster has signed a holder's keys.
        """
        ours = {"sealing": self.parameters.digest, "roster": self.roster.digest}
        for name, digest in ours.items():
            named = getattr(plan, name)
            if named != digest:
                raise RefusedError(
                    f"The plan names the {name} {str(named)[:12]}; what was handed out is "
                    f"{digest[:12]}. Somebody put other keys in their place: seal nothing under "
                    "them, and ask the others for the plan."
                )
        if self.scheme is not None:
            members = self.roster.keys
            require_vouched(self.parameters, self.scheme.label, self.run, members)

    def judged(
        self, content: bytes, place: Place, said: bytes | None
    ) -> tuple[Proposal, NDArray[np.int64]]:
        """Read evidence as it was relayed; return what was proposed, and the sum that it proves.

        Raises:
          RefusedError: As ``sum_of``.
          CorruptMessageError: As ``sum_of`` and ``Evidence.from_bytes``.
        """
        cache_key = (hashlib.sha256(content).digest(), place, said)
        # Hospitals of one process are told the same bytes at the same place, and the answer
        # depends on nothing else: hundreds of them need not check the same signatures.
        if self._last is None or self._last[0] != cache_key:
            evidence = Evidence.from_bytes(content)
            opened = self.sum_of(evidence, place, said)
            opened.flags.writeable = False
            self._last = cache_key, (evidence.proposal, opened)
        return self._last[1]

    def sum_of(
        self, evidence: Evidence, place: Place, said: bytes | None = None
    ) -> NDArray[np.int64]:
        """Return the opened sum, ``int64[dim]``, that the evidence proves.

        Args:
          evidence: As it was relayed.
          place: Where the run's chain stands.
          said: The sum as it was told, in bytes; None: not told.

        Raises:
          RefusedError: It is of another place or of too few, it lacks something, or holders
            contradict each other.
          CorruptMessageError: A signature or a digest does not fit.
        """
        self._require_place(evidence.proposal, place)
        if self.scheme is None:
            return self._word_of_the_opener(evidence, said)
        opened = self._combined(self.scheme, evidence)
        if said is not None and opened.astype("<i8").tobytes() != said:
            raise RefusedError(
                f"The sum that was told as opening {place.number} is not the one that the holders' "
                "answers give. Whoever told it made it up."
            )
        return opened

    def _require_place(self, proposal: Proposal, place: Place) -> None:
        ours = {
            "run": self.run,
            "plan": place.plan,
            "number": place.number,
            "previous": place.previous,
            "parameters": self.parameters.digest,
        }
        theirs = proposal.to_json()
        for name, value in ours.items():
            if theirs[name] != value:
                raise RefusedError(
                    f"An opening was relayed whose {name} is {theirs[name]!r}; here {value!r} is "
                    "awaited. A sum belongs to one place in the chain of one run."
                )
        often = Counter(proposal.hospitals)
        if max(often.values()) > self._repeats or len(often) < self._least:
            raise RefusedError(
                f"An opening of {len(often)} distinct hospitals among {len(proposal.hospitals)} "
                f"contributions was relayed; {self._least} or more are needed, each of them "
                f"{self._repeats} times at most."
            )

    def _word_of_the_opener(self, evidence: Evidence, said: bytes | None) -> NDArray[np.int64]:
        if said is None or len(evidence.answers) != 1:
            raise RefusedError("An opening was relayed without the opener's own signed word on it.")
        (answer,) = evidence.answers
        self._require_signed(answer, evidence.proposal, self.roster.opener)
        if answer.parts != digests_of({SUM: said}):
            raise CorruptMessageError(
                "The sum that was told is not the one that the opener signed: it changed on the "
                "way, or whoever told it made it up."
            )
        return read_integers(said, self.parameters.dim)

    def _combined(self, scheme: type[QuorumScheme], evidence: Evidence) -> NDArray[np.int64]:
        quorum, public = read_quorum(self.parameters, scheme.label)
        proposal, keys = evidence.proposal, {name: key.sign for name, key in public.items()}
        if hashlib.sha256(evidence.total).hexdigest() != proposal.total:
            raise CorruptMessageError(
                "The sealed sum is not the one that the holders committed to: it changed on the "
                "way, or whoever relayed it put another in its place."
            )
        committed = {
            c.holder
            for c in evidence.commitments
            if c.opening == proposal.digest and c.verifies(keys.get(c.holder, ""))
        }
        if len(committed) < quorum.threshold:
            raise RefusedError(
                f"{len(committed)} holders have validly committed to an opening that was relayed; "
                f"{quorum.threshold} of {len(quorum.names)} are needed."
            )
        answers = {answer.holder: answer for answer in evidence.answers}
        present = evidence.answers[0].present if evidence.answers else ()
        if not committed.issuperset(present) or len(set(present)) < quorum.threshold:
            raise RefusedError(
                f"Answers were made for {', '.join(present) or 'nobody'} together; that is no "
                "quorum of those who committed."
            )
        said = sorted({part for answer in answers.values() for part in answer.parts})
        expected = scheme.expected(self.parameters, present, said)
        for name, answer in answers.items():
            self._require_signed(answer, proposal, keys.get(name, ""))
            if answer.present != present:
                raise RefusedError(
                    f"{name!r} answered for {', '.join(answer.present)}, others for "
                    f"{', '.join(present)}; their parts don't belong together."
                )
        for part, names in expected.items():
            if self._detects and len(names) <= quorum.corrupt:
                raise RefusedError(
                    f"{', '.join(names)} alone answered for part {part}; {quorum.corrupt + 1} "
                    "holders are demanded, so that a lie is seen. Wait for the others."
                )
            self._require_part(part, names, answers, evidence.parts)
        self._require_all(scheme, expected, proposal)
        parts = {part: evidence.parts[part] for part in expected}
        return self.parameters.centre(scheme.combine(self.parameters, evidence.total, parts))

    @staticmethod
    def _require_all(
        scheme: type[QuorumScheme], expected: Mapping[str, Sequence[str]], proposal: Proposal
    ) -> None:
        """Refuse an opening in which somebody who contributed answers for nothing."""
        if scheme.one_each and len(expected) != len(proposal.hospitals):
            raise RefusedError(
                f"{len(expected)} parts were answered for an opening of {len(proposal.hospitals)} "
                "contributions; one each is needed, and nobody answers for the rest."
            )

    @staticmethod
    def _require_part(
        part: str, names: Sequence[str], answers: Mapping[str, Answer], parts: Parts
    ) -> None:
        for name in names:
            if name not in answers or part not in answers[name].parts:
                raise RefusedError(
                    f"The answer of holder {name!r} for part {part} is missing: without it the "
                    "sum can't be told. Have it sent again, or another quorum answer."
                )
        said = {answers[name].parts[part] for name in names}
        if len(said) > 1:
            raise RefusedError(
                f"Holders {', '.join(names)} answered differently for part {part}: one of them "
                "lies or is broken, and these words don't say who. The opening is refused; "
                "nobody is shut out for it."
            )
        content = parts.get(part)
        if names and (content is None or hashlib.sha256(content).hexdigest() not in said):
            raise CorruptMessageError(
                f"What was relayed as part {part} is not what {', '.join(names)} signed: it is "
                "missing, or changed on the way."
            )

    @staticmethod
    def _require_signed(answer: Answer, proposal: Proposal, key: str) -> None:
        if answer.opening != proposal.digest or not answer.verifies(key):
            raise CorruptMessageError(
                f"The answer that was relayed as {answer.holder!r}'s is not its signed word on "
                "this opening: it changed on the way, or somebody else made it."
            )
