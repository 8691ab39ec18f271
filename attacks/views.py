r"""What each adversary sees of a run, made from the transcript and from nothing else.

An adversary is a position, and the knowledge that comes with it. Its view is a function of the
messages that its position meets: the truth (who was drawn, what they are) is not among them.

==============  =====================================================================
eavesdropper    who sent how many bytes to whom, and when
server_plain    each hospital's update, in clear
server_sealed   sealed updates (noise to it) and the opened sums
buffered        the same, with sums of few, stale and repeated contributors
longitudinal    the same over all rounds, with who took part in each
active          the same, at models that the server itself chose
key_holder      opened sums, and every single update whose ciphertext reaches it
colluding       the sums less what the colluding hospitals sent, and their patients
informed        the release, knowing all patients but one
public          the final model
==============  =====================================================================

[1] Bonawitz et al. (2017), *Practical Secure Aggregation*, section 2: what a server may see.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar, get_args

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.patients import Patients
from aggregation.plan import Plan
from aggregation.transcript import AGGREGATOR, Message, Transcript
from attacks.opening import plain_reader, read_opened
from privacy._validate import finite_array
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError

__all__ = [
    "Adversary",
    "ColludingView",
    "Contribution",
    "Envelope",
    "Gradient",
    "GradientView",
    "InformedView",
    "Knowledge",
    "Name",
    "Observation",
    "PublicView",
    "TrafficView",
    "observe",
    "require",
]

Name = Literal[
    "eavesdropper",
    "server_plain",
    "server_sealed",
    "colluding",
    "buffered",
    "longitudinal",
    "active",
    "key_holder",
    "informed",
    "public",
]
Place = tuple[int, str]  # round and hospital

Sums = TypeVar("Sums", bound="GradientView")


@dataclass(frozen=True)
class Knowledge:
    """What an adversary knows beside its view; each entry is declared, none is assumed.

    Attributes:
      patients: Patients that it knows, by hospital: all of a colluder's own, all but one for the
        informed adversary.
      updates: What colluding hospitals sent, in integer steps, by round and hospital.
      batches: Of the patients that it knows, those who were drawn, by round and hospital: the
        informed adversary's, where rounds are sampled.
      labels: Outcomes of the patients in a round's batch, by round and hospital: the customary
        assumption of the literature, and a strong one.
      open_update: Opens one sealed update (a key holder to whom single ciphertexts leak).
    """

    patients: Mapping[str, Patients] = field(default_factory=dict)
    updates: Mapping[Place, NDArray[np.int64]] = field(default_factory=dict)
    batches: Mapping[Place, Patients] = field(default_factory=dict)
    labels: Mapping[Place, NDArray[np.int64]] = field(default_factory=dict)
    open_update: Callable[[bytes], NDArray[np.int64]] | None = None

    @property
    def declared(self) -> tuple[str, ...]:
        """Names of what is known, to be printed beside every result."""
        return tuple(
            name
            for name, known in (
                ("patients", self.patients),
                ("updates", self.updates),
                ("batches", self.batches),
                ("labels", self.labels),
                ("open_update", self.open_update),
            )
            if known
        )


@dataclass(frozen=True)
class Adversary:
    """A position and its knowledge.

    Attributes:
      name: One of the ten positions.
      knowledge: What it holds beside its view.

    Raises:
      InvalidInputError: The name is unknown, or the position lacks the knowledge that defines it.
    """

    name: Name
    knowledge: Knowledge = field(default_factory=Knowledge)

    def __post_init__(self) -> None:
        if self.name not in get_args(Name):
            raise InvalidInputError(
                f"Unknown adversary {self.name!r}; choose one of {', '.join(get_args(Name))}."
            )
        if self.name == "colluding" and not self.knowledge.updates:
            raise InvalidInputError(
                "A colluding adversary brings what its hospitals sent: give Knowledge.updates by "
                "round and hospital."
            )
        if self.name == "informed" and not (self.knowledge.patients or self.knowledge.batches):
            raise InvalidInputError(
                "An informed adversary knows all patients but one: give Knowledge.patients, or "
                "Knowledge.batches where rounds are sampled."
            )


@dataclass(frozen=True)
class Envelope:
    """The outside of a message: all that a network shows of an encrypted connection."""

    sender: str
    receiver: str
    round: int
    size: int
    time: float


@dataclass(frozen=True)
class Contribution:
    """One hospital's part in a sum, at the model that it was given.

    Attributes:
      hospital: Its name.
      params: The model that it was given, of the last round or an older one.
      labels: Outcomes of its batch, if they are declared.
      weight: What it multiplied its patients' gradients by before the noise, as it signed.
    """

    hospital: str
    params: Float[np.ndarray, "dim"]
    labels: Int[np.ndarray, "patients"] | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Gradient:
    """A sum of (clipped, rounded, perhaps noised) per-patient gradients, seen in clear.

    Attributes:
      round: The round it belongs to.
      contributions: Whose patients it sums; not empty.
      integers: The sum in integer steps; ``Plan.step`` turns it into units of the parameters.
      noise_std: Standard deviation of the noise on each coordinate, in integer steps; a law that
        the plan makes public.
    """

    round: int
    contributions: tuple[Contribution, ...]
    integers: Int[np.ndarray, "dim"]
    noise_std: float

    @property
    def hospitals(self) -> tuple[str, ...]:
        """Names of the contributors."""
        return tuple(c.hospital for c in self.contributions)

    @property
    def params(self) -> Float[np.ndarray, "dim"]:
        """The one model of all contributors.

        Raises:
          RefusedError: They were given different models, or weighed their patients.
        """
        first = self.contributions[0].params
        mixed = any(not np.array_equal(c.params, first) for c in self.contributions[1:])
        if mixed or any(c.weight != 1 for c in self.contributions):
            raise RefusedError(
                f"The sum of round {self.round} mixes gradients at different models, or of "
                "different weights; an attack on one model can't read it. Use an attack on stale "
                "mixtures ('stale')."
            )
        return first

    @property
    def labels(self) -> Int[np.ndarray, "patients"] | None:
        """Outcomes of the whole batch, if they are declared for every contributor."""
        known = [c.labels for c in self.contributions]
        if any(labels is None for labels in known):
            return None
        return np.concatenate([labels for labels in known if labels is not None])


@dataclass(frozen=True)
class Observation:
    """What an adversary saw. The plan is public: clip norm, noise law, scale, sampling size.

    Attributes:
      plan: What all parties agreed on.
      adversary: Name of the position.
      knowledge: What it holds beside its view.
    """

    plan: Plan
    adversary: str
    knowledge: Knowledge


@dataclass(frozen=True)
class TrafficView(Observation):
    """Sizes and times."""

    envelopes: tuple[Envelope, ...]


@dataclass(frozen=True)
class PublicView(Observation):
    """The final model."""

    params: Float[np.ndarray, "dim"]


@dataclass(frozen=True)
class GradientView(Observation):
    """Sums of gradients, from one hospital's to all hospitals', over all rounds."""

    gradients: tuple[Gradient, ...]

    def only(self: Sums, *, round_: int | None = None, hospital: str | None = None) -> Sums:
        """Narrow the view to one round, or to the sums in which one hospital took part."""
        kept = tuple(
            g
            for g in self.gradients
            if (round_ is None or g.round == round_)
            and (hospital is None or hospital in g.hospitals)
        )
        return replace(self, gradients=kept)

    @property
    def noised(self) -> bool:
        """Whether anything but rounding stands between the patients and the view."""
        return self.plan.noise != "none"


@dataclass(frozen=True)
class ColludingView(GradientView):
    """Sums less the colluders' updates; their patients are in ``knowledge``."""

    colluders: tuple[str, ...]


@dataclass(frozen=True)
class InformedView(GradientView):
    """The release (less colluders' updates), with all patients but one in ``knowledge``."""


View = TypeVar("View", bound=Observation)


def require(observation: Observation, kind: type[View], attack: str) -> View:
    """Return the observation if it is of the kind that an attack needs.

    Raises:
      RefusedError: The adversary does not see what the attack needs, or sees sums in which nobody
        left a trace (a batch of zero, a layer that is dead).
      InvalidInputError: A sum or a model is of the wrong shape or type, holds NaN, or the plan's
        model is unknown.
    """
    if not isinstance(observation, kind):
        raise RefusedError(
            f"The attack {attack!r} needs a {kind.__name__}; the adversary "
            f"{observation.adversary!r} sees a {type(observation).__name__}. Choose an adversary "
            "that sees more, or an attack that needs less."
        )
    if isinstance(observation, GradientView):
        _check_sums(observation)
    return observation


def _check_sums(view: GradientView) -> None:
    model = view.plan.model
    if model.kind not in ("logistic", "mlp"):
        raise InvalidInputError(
            f"Unknown model {model.kind!r}: attacks know the gradients of logistic and mlp (ReLU)."
        )
    for g in view.gradients:
        for part in g.contributions:
            finite_array(params=part.params, hint=f"The model sent to {part.hospital} is broken.")
        finite_array(integers=g.integers, hint=f"The sum of round {g.round} is broken.")
        shapes = {g.integers.shape, *(c.params.shape for c in g.contributions)}
        if shapes != {(model.dim,)} or g.integers.dtype.kind != "i":
            raise InvalidInputError(
                f"Expected {model.dim} integers and as many parameters in round {g.round}, got "
                f"{g.integers.dtype} and shapes {sorted(shapes)}. Use one run's plan and messages."
            )
    first = sum(math.prod(shape) for _, shape in model.layout[:2])
    if view.gradients and not any(g.integers[:first].any() for g in view.gradients):
        raise RefusedError(
            "Nobody left a trace in the first layer of any sum: the batch is empty, or the layer "
            "is dead. There is nothing to reconstruct."
        )


def observe(transcript: Transcript, adversary: Adversary | Name) -> Observation:
    """Return what an adversary sees of a run.

    Guarantees (each is a test in ``tests/attacks/test_views.py``):
      - only messages that the position meets are read, and nothing but messages and the declared
        knowledge;
      - a server of a sealed run gets no single hospital's update;
      - what colluders subtract is what they sent, exactly.

    Args:
      transcript: All messages of a run; the first is the plan.
      adversary: A position with its knowledge, or the bare name of one that needs none.

    Raises:
      CorruptMessageError: The first message is no plan, or a message is not what its kind says.
      RefusedError: The position does not see what defines it in this run (a plaintext view of
        sealed updates).
    """
    if isinstance(adversary, str):
        adversary = Adversary(adversary)
    first = next(iter(transcript), None)
    if first is None or first.kind != "plan":
        raise CorruptMessageError(
            "A transcript begins with its plan; this one begins with "
            f"{'nothing' if first is None else repr(first.kind)}. Use the folder of a whole run."
        )
    plan = Plan.from_bytes(first.payload)
    name, knowledge = adversary.name, adversary.knowledge
    if name == "eavesdropper":
        envelopes = tuple(
            Envelope(m.sender, m.receiver, m.round, m.size, m.time) for m in transcript
        )
        return TrafficView(plan, name, knowledge, envelopes)
    if name == "public":
        return PublicView(plan, name, knowledge, _final_model(plan, transcript))
    gradients = _gradients(plan, transcript, adversary)
    colluders = tuple(sorted({hospital for _, hospital in knowledge.updates}))
    if name in ("colluding", "informed") and colluders:
        gradients = tuple(_without(g, colluders, knowledge, plan) for g in gradients)
    if name == "colluding":
        return ColludingView(plan, name, knowledge, gradients, colluders)
    if name == "informed":
        return InformedView(plan, name, knowledge, gradients)
    return GradientView(plan, name, knowledge, gradients)


def _gradients(plan: Plan, transcript: Transcript, adversary: Adversary) -> tuple[Gradient, ...]:
    if adversary.name == "server_plain":
        if plan.scheme != "plain":
            raise RefusedError(
                f"This run sealed its updates with {plan.scheme!r}: its server reads none of them. "
                "Observe it as server_sealed."
            )
        return _single_updates(plan, transcript, adversary.knowledge, plain_reader(plan))
    # In a simulation ``plain`` may stand in for sealing: a sealed server reads the sums alone.
    if plan.scheme == "plain" and adversary.name != "server_sealed":
        return _single_updates(plan, transcript, adversary.knowledge, plain_reader(plan))
    sums = _opened_sums(plan, transcript, adversary.knowledge)
    if adversary.name == "key_holder" and adversary.knowledge.open_update is not None:
        opened = adversary.knowledge.open_update
        return (*sums, *_single_updates(plan, transcript, adversary.knowledge, opened))
    return sums


def _single_updates(
    plan: Plan,
    transcript: Transcript,
    knowledge: Knowledge,
    read: Callable[[bytes], NDArray[np.int64]],
) -> tuple[Gradient, ...]:
    models = _models(transcript)
    return tuple(
        _gradient(plan, (m,), models, knowledge, read(m.payload), m.round)
        for m in transcript.select(kind="update", receiver=AGGREGATOR)
    )


def _opened_sums(plan: Plan, transcript: Transcript, knowledge: Knowledge) -> tuple[Gradient, ...]:
    models = _models(transcript)
    sums = []
    waiting: list[Message] = []  # a server opens all that it holds: what came since the last sum
    for m in transcript:
        if m.receiver == AGGREGATOR and m.kind == "update":
            waiting.append(m)
        elif m.receiver == AGGREGATOR and m.kind == "opened":
            integers = read_opened(m.payload, plan)
            sums.append(_gradient(plan, tuple(waiting), models, knowledge, integers, m.round))
            waiting = []
    return tuple(sums)


def _gradient(
    plan: Plan,
    parts: tuple[Message, ...],
    models: Mapping[Place, NDArray[np.float64]],
    knowledge: Knowledge,
    integers: NDArray[np.int64],
    round_: int,
) -> Gradient:
    if integers.shape != (plan.model.dim,):
        raise CorruptMessageError(
            f"An update of round {round_} holds {integers.size} values; the plan's model has "
            f"{plan.model.dim}. Use the transcript and the plan of one run."
        )
    contributions = []
    for part in parts:
        version = part.public.get("base_version", part.round)
        place = (int(version) if isinstance(version, int) else part.round, part.sender)
        if place not in models:
            raise CorruptMessageError(
                f"The transcript shows no model of version {place[0]} sent to {part.sender}, "
                "though it answered it. Use the transcript of a whole run."
            )
        labels = knowledge.labels.get((part.round, part.sender))
        weight = part.public.get("weight", 1.0)
        known = float(weight) if isinstance(weight, int | float) else 1.0
        contributions.append(Contribution(part.sender, models[place], labels, known))
    if not contributions:
        raise CorruptMessageError(f"The opened sum of round {round_} has no update before it.")
    return Gradient(round_, tuple(contributions), integers, _noise_std(plan, integers, len(parts)))


def _noise_std(plan: Plan, integers: NDArray[np.int64], contributors: int) -> float:
    """Noise on each coordinate of a sum, in integer steps.

    The article's scale follows the norm of the upload itself: with std = c |g| and d coordinates,
    the seen norm is near sqrt(1 + c^2 d) |g|, which gives the scale away.
    """
    if plan.noise == "article":
        c = float(np.sqrt(2 * np.log(1.25 / plan.delta)) / plan.epsilon)
        norm = float(np.linalg.norm(integers.astype(np.float64)))
        return c * norm / float(np.sqrt(1 + c**2 * plan.model.dim))
    return plan.share_std * float(np.sqrt(contributors * plan.local_steps))


def _without(
    gradient: Gradient, colluders: tuple[str, ...], knowledge: Knowledge, plan: Plan
) -> Gradient:
    left = tuple(c for c in gradient.contributions if c.hospital not in colluders)
    integers = gradient.integers.copy()
    for hospital in gradient.hospitals:
        if hospital in colluders:
            sent = knowledge.updates.get((gradient.round, hospital))
            if sent is None:
                raise InvalidInputError(
                    f"Knowledge.updates lacks what {hospital} sent in round {gradient.round}; a "
                    "colluder knows all of its own updates."
                )
            integers -= sent
    if not left:
        raise RefusedError(
            f"Every contributor of round {gradient.round} colludes: no patient is left to attack."
        )
    share = gradient.noise_std / float(np.sqrt(len(gradient.contributions)))
    noise = share * float(np.sqrt(len(left)))
    if plan.noise == "article":
        noise = _noise_std(plan, integers, len(left))
    return Gradient(gradient.round, left, integers, noise)


def _models(transcript: Transcript) -> dict[Place, NDArray[np.float64]]:
    return {
        (m.round, m.receiver): np.frombuffer(m.payload, dtype="<f8").astype(np.float64)
        for m in transcript.select(kind="model")
    }


def _final_model(plan: Plan, transcript: Transcript) -> NDArray[np.float64]:
    """Recompute what the run hands out from the models sent and the last opened sum."""
    by_round = {
        m.round: np.frombuffer(m.payload, dtype="<f8").astype(np.float64)
        for m in transcript.select(kind="model", sender=AGGREGATOR)
    }
    if not by_round:
        raise CorruptMessageError("The transcript holds no model. Use the folder of a whole run.")
    models = [by_round[round_] for round_ in sorted(by_round)]
    for message in transcript.select(kind="opened", receiver=AGGREGATOR, round_=max(by_round)):
        models.append(plan.advance(models[-1], read_opened(message.payload, plan)))
    return plan.final_model(models)
