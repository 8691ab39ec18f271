"""What an attack is given: sums, models, sizes and times, as one position saw them.

An attack names the kind of view that it needs; ``require`` refuses it any other, and any that is
broken, before a number is computed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, logit

from aggregation.capture.optimizers import DESCENT, Optimizer
from aggregation.models import LinearInput, Model, TorchModel
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from attacks.knowledge.capabilities import linear_input
from attacks.views.adversary import Knowledge
from privacy._validate import finite_array
from privacy.errors import InvalidInputError, RefusedError

__all__ = [
    "AnswersView",
    "ColludingView",
    "Envelope",
    "Gradient",
    "GradientView",
    "InformedView",
    "Observation",
    "PublicView",
    "SumPart",
    "TrafficView",
    "require",
]

Sums = TypeVar("Sums", bound="GradientView")


@dataclass(frozen=True)
class Envelope:
    """The outside of a message: all that a network shows of an encrypted connection."""

    sender: str
    receiver: str
    round: int
    size: int
    time: float


@dataclass(frozen=True)
class SumPart:
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
      error: How far each coordinate may be from the true sum, in integer steps, where it was
        captured in numbers of few bits; None: not at all.
      readings: In how many ways the update was read before this one was taken, such as batch sizes
        that were tried: each gives chance another try.
      optimizer: What made the local steps of the mean gradients; a plan's own hospitals descend.
    """

    round: int
    contributions: tuple[SumPart, ...]
    integers: Int[np.ndarray, "dim"]
    noise_std: float
    error: Float[np.ndarray, "dim"] | None = None
    readings: int = 1
    optimizer: Optimizer = DESCENT

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

    def explains(self, residual: Int[np.ndarray, "dim"]) -> bool:
        """Whether nothing is left of the sum but what its error may be."""
        if self.error is None:
            return not residual.any()
        return bool((np.abs(residual) <= self.error).all())

    @property
    def labels(self) -> Int[np.ndarray, "patients"] | None:
        """Outcomes of the whole batch, if they are declared for every contributor."""
        outcomes = [c.labels for c in self.contributions]
        if any(labels is None for labels in outcomes):
            return None
        return np.concatenate([labels for labels in outcomes if labels is not None])


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
class AnswersView(Observation):
    """The released model's probabilities for records that one makes up.

    Attributes:
      ask: Probabilities of the outcome for standardised records, one a row.
      digits: Decimal places of an answer; None: all of them.
    """

    ask: Callable[[Float[np.ndarray, "people features"]], Float[np.ndarray, "people"]]
    digits: int | None

    def log_odds(self, features: Float[np.ndarray, "people features"]) -> Float[np.ndarray, "n"]:
        """Return the log-odds of the probabilities that were answered."""
        return self._read(np.asarray(self.ask(features)))

    def as_told(self, log_odds: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the log-odds after their probability is rounded as answers are."""
        return self._read(np.asarray(expit(log_odds)))

    def _read(self, probabilities: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        if self.digits is None:
            least = float(np.finfo(np.float64).eps)
        else:
            least = 10.0**-self.digits / 2  # what is told as 0 lies anywhere below this
            probabilities = np.round(probabilities, self.digits)
        return np.asarray(logit(np.clip(probabilities, least, 1 - least)))


@dataclass(frozen=True)
class PublicView(AnswersView):
    """The final model, whole: its log-odds are read before they become probabilities."""

    params: Float[np.ndarray, "dim"]

    def log_odds(self, features: Float[np.ndarray, "people features"]) -> Float[np.ndarray, "n"]:
        """Return the model's own log-odds, however sure it is."""
        return np.asarray(self.plan.model.scores(self.params, features))

    def as_told(self, log_odds: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return them as they are."""
        return log_odds


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
        return self.plan.noise != NoiseKind.NONE


@dataclass(frozen=True)
class ColludingView(GradientView):
    """Sums less the colluders' updates; their patients are in ``knowledge``."""

    colluders: tuple[str, ...]


@dataclass(frozen=True)
class InformedView(GradientView):
    """The release (less colluders' updates), with all patients but one in ``knowledge``."""


View = TypeVar("View", bound=Observation)


def require(
    observation: Observation, kind: type[View], attack: str, *, together: bool = False
) -> View:
    """Return the observation if it is of the kind that an attack needs.

    Args:
      observation: What was seen.
      kind: What the attack reads.
      attack: Its name.
      together: Whether it knows of rounds that belong together: of patients who are in one round
        of each pass, and of noise that is correlated. One round by itself any attack may read: it
        is a Poisson sample, or its noise is as wide as the view says.

    Raises:
      RefusedError: The adversary does not see what the attack needs, or sees sums in which nobody
        left a trace (a batch of zero, a layer that is dead).
      InvalidInputError: A sum or a model is of the wrong shape or type, holds NaN, or the plan's
        model is unknown.
    """
    if not isinstance(observation, kind):
        raise RefusedError(
            f"The attack {attack!r} needs {_article(kind)}; the adversary "
            f"{observation.adversary!r} sees {_article(type(observation))}. Choose an adversary "
            "that sees more, or an attack that needs less."
        )
    if isinstance(observation, GradientView):
        plan = observation.plan
        bound = plan.pass_rounds is not None or plan.correlated is not None
        if bound and not together and len({g.round for g in observation.gradients}) > 1:
            raise RefusedError(
                "The rounds of this plan belong together: each patient is in one of a pass, or the "
                f"noise is correlated (pass_rounds={plan.pass_rounds}, correlated="
                f"{plan.correlated}). The attack {attack!r} takes rounds for independent, so that "
                "what it finds would say nothing. Narrow the view to one round "
                "(view.only(round_=...)), or take likelihood_ratio or informed_pool, which know it."
            )
        _check_sums(observation)
    return observation


def _article(kind: type[Observation]) -> str:
    return f"a{'n' * (kind.__name__[0] in 'AEIO')} {kind.__name__}"


def _check_sums(view: GradientView) -> None:
    model = view.plan.model
    if not isinstance(model, TorchModel):  # what has no torch form is read by its first layer alone
        linear_input(model)
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
    if view.gradients and not any(_left_trace(model, g.integers) for g in view.gradients):
        rounded = any(g.error is not None for g in view.gradients)
        raise RefusedError(
            "Nobody left a trace in the first layer of any sum: the batch is empty, "
            f"{'its weights have too few bits for so small a step, ' * rounded}or the layer is "
            "dead. There is nothing to reconstruct."
        )


def _left_trace(model: Model, integers: Int[np.ndarray, "dim"]) -> bool:
    """Whether a patient left anything where attacks read: the first layer, where one is known."""
    if not isinstance(model, LinearInput):
        return bool(integers.any())
    weights, biases = model.first_layer(integers)
    return bool(weights.any() or biases.any())
