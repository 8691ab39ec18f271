"""``review.toml``: what somebody claims of a training, and what is told of how it ran.

Whatever is left out is not known, and the review then says which file would tell::

    [claim]
    epsilon = 2.0
    delta = 1e-5
    relation = "ADD_OR_REMOVE_ONE"   # between which tables
    accountant = "prv"               # prv, pld, rdp, gdp, or formula: how epsilon was found

    [training]                       # numbers only where no checkpoint or phases.toml has them
    noise_multiplier = 1.0
    sampling_prob = 0.1
    steps = 50
    sampler = "shuffled"             # as the loader drew: poisson or shuffled
    patients = 280
    batch_sizes = [28, 28, 28]       # as they came, step by step
    divided_by = "expected"          # the sum of gradients: by a constant, or by the size "drawn"
    noise = "sum"                    # sized for the sum; or added at each "hospital", weighted then
    weights = [0.7, 0.3]             # of the hospitals' noisy updates

    [updates]                        # of the captured weights in the folder
    model = "mlp:64"
    cohort = "heart"                 # or the path of a cohort.toml: what the columns are
    learning_rate = 0.1
    batch_size = 8
    steps = 1                        # 1 is assumed where nobody says
    optimizer = "sgd"                # or adam, adamw
    momentum = 0.9                   # of sgd
    weight_decay = 0.0
    clip_norm = 1.0                  # of a private step
"""

from dataclasses import dataclass
from pathlib import Path

from privacy._foreign import quoted, read_file, toml_table
from privacy.errors import InvalidInputError
from privacy.ledger.forms import (
    SENTENCE,
    Form,
    form,
    listed,
    number,
    one_of,
    optional,
    ruled,
    text,
    whole,
)
from privacy.ledger.requests import MOST_COUNT, RELATIONS

__all__ = ["ClaimedGuarantee", "ReviewFile", "ToldTraining", "ToldUpdates", "read_review"]

_LARGEST = 2**22
_MOST_BATCHES = 1_000_000
_RATE = number(0.0, 1.0, above=True)


@dataclass(frozen=True)
class ClaimedGuarantee(Form):
    """What is claimed of the whole training, for each patient."""

    epsilon: float = ruled(number())
    delta: float = ruled(number(0.0, 0.5, above=True))
    relation: str = ruled(one_of(*RELATIONS), "ADD_OR_REMOVE_ONE")
    accountant: str | None = ruled(optional(one_of("prv", "pld", "rdp", "gdp", "formula")), None)


@dataclass(frozen=True)
class ToldTraining(Form):
    """How the training is said to have run; None: nobody says."""

    noise_multiplier: float | None = ruled(optional(number()), None)
    sampling_prob: float | None = ruled(optional(_RATE), None)
    steps: int | None = ruled(optional(whole(1, MOST_COUNT)), None)
    sampler: str | None = ruled(optional(one_of("poisson", "shuffled")), None)
    patients: int | None = ruled(optional(whole(1, MOST_COUNT)), None)
    batch_sizes: tuple[int, ...] = ruled(
        listed(whole(0, MOST_COUNT), least=0, most=_MOST_BATCHES), ()
    )
    divided_by: str | None = ruled(optional(one_of("expected", "drawn")), None)
    noise: str | None = ruled(optional(one_of("sum", "hospital")), None)
    weights: tuple[float, ...] = ruled(listed(number(above=True), least=0, most=10_000), ())


@dataclass(frozen=True)
class ToldUpdates(Form):
    """What captured weights are of; None: nobody says."""

    model: str | None = ruled(optional(text(SENTENCE)), None)
    cohort: str | None = ruled(optional(text(SENTENCE)), None)
    learning_rate: float | None = ruled(optional(number(above=True)), None)
    batch_size: int | None = ruled(optional(whole(1, MOST_COUNT)), None)
    steps: int | None = ruled(optional(whole(1, MOST_COUNT)), None)
    optimizer: str = ruled(one_of("sgd", "adam", "adamw"), "sgd")
    momentum: float = ruled(number(0.0, 1.0), 0.0)
    weight_decay: float | None = ruled(optional(number()), None)
    clip_norm: float | None = ruled(optional(number(above=True)), None)


@dataclass(frozen=True)
class ReviewFile(Form):
    """The file, or nothing of it."""

    claim: ClaimedGuarantee | None = ruled(optional(form(ClaimedGuarantee)), None)
    training: ToldTraining = ruled(form(ToldTraining), ToldTraining())
    updates: ToldUpdates = ruled(form(ToldUpdates), ToldUpdates())


def read_review(path: Path) -> ReviewFile:
    """Read a ``review.toml``.

    Raises:
      CorruptMessageError: Missing, too large, or no TOML.
      InvalidInputError: A field is unknown or breaks its rule.
    """
    content = read_file(path, most=_LARGEST, what="The file of claims")
    table = toml_table(content, what=quoted(path.name))
    parts: dict[str, type[Form]] = {
        "claim": ClaimedGuarantee,
        "training": ToldTraining,
        "updates": ToldUpdates,
    }
    completed = {n: parts[n].completed(part) if n in parts else part for n, part in table.items()}
    try:
        return ReviewFile.from_json(ReviewFile.completed(completed))
    except InvalidInputError as error:
        raise InvalidInputError(f"{quoted(path.name)} can't be taken up: {error}") from error
