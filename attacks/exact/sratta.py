r"""A8: patients read off a *sum*, and told apart by hospital (after SRATTA, Marchand et al. 2023).

Secure aggregation hides whose update is whose. It does not hide what a sum says by itself:

1. *Recovery*. A hidden unit that one patient alone has moved shows that patient as a ratio
   (``attacks.exact.closed_form``), sum or not; a unit moved by one known patient and an unknown one
   shows the unknown one, as soon as one of its categories says how much of the unit is the known
   one's.
2. *Matching*. Least squares over the recovered patients says, unit by unit and round by round, who
   moved it (section 4.2 there): :math:`\partial W_j = \sum_i \lambda_{ij} x_i` and
   :math:`\partial b_j = \sum_i \lambda_{ij}`, to within the rounding.
3. *Grouping*. Where hospitals walk several local steps, a patient may have moved a unit that was
   silent for it in the model sent out. Somebody *of its own hospital* must have woken the unit in
   an earlier step: of those that the unit was not silent for, if there is only one, the two are
   from one hospital; if there are several of one group already, likewise (section 4.3, rule S2).

With one local step the sum is symmetric in its patients: recovery works, grouping can't.

Cost: a few small least squares a unit and round; seconds at 1,000 units and 20 rounds.

[1] Marchand, Loeb, Marteau-Ferey, Ogier du Terrail, Pignet (2023), *SRATTA: Sample Re-ATTribution
Attack of Secure Aggregation in Federated Learning*, ICML.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from aggregation.plan import Plan
from attacks.exact.closed_form import ClosedForm, first_layer, readable
from attacks.knowledge.capabilities import hidden_layer
from attacks.knowledge.features import Feature, project
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction, guesses, join
from attacks.views import Gradient, GradientView, Observation, require
from privacy._validate import natural
from privacy.errors import RefusedError
from privacy.unit import Unit

__all__ = ["Grouped", "Sratta"]

_BITS = 24.0  # of coincidence that a ratio on the grid must have against it
_MORE_BITS = 36.0  # beside a known record: one of many records and columns could fit by chance
_WITNESSES = 3  # pairs of a unit and a known record that must show it


@dataclass(frozen=True)
class Grouped:
    """Patients of a sum, by hospital.

    Attributes:
      records: ``[found, features]``, standardised; each once.
      groups: Which belong together: equal numbers, one hospital. The numbers name no hospital.
    """

    records: Float[np.ndarray, "found features"]
    groups: Int[np.ndarray, "found"]


@dataclass(frozen=True)
class Sratta:
    """The attack A8 on all sums of a view together.

    Guarantees (each is a test in ``tests/attacks/exact/test_sratta.py``):
      - undefended, patients of a sealed sum are recovered though no update is seen;
      - with several local steps, patients that are put together are of one hospital;
      - a certified record is a patient; several local steps or noise certify nothing;
      - noise is allowed for by its public law; drowned, the records are the prior's best guesses.

    Attributes:
      most: Recovered patients that least squares tries to explain a unit with, at most.
    """

    name: ClassVar[str] = "sratta"
    needs: ClassVar[type[GradientView]] = GradientView

    most: int = 8

    def __post_init__(self) -> None:
        natural(most=self.most, least=1)

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Recover the patients of all sums, each once, and guess the rest of the hospitals'.

        Raises:
          RefusedError: The adversary sees no gradient, or the plan has no hidden layer.
        """
        view = self._view(observation)
        if readable(view.plan):  # one step: integers can be replayed, and records certified
            recovered = ClosedForm().reconstruct(view, prior)
            seen = recovered.confidence > 0
            recovered = Reconstruction(
                recovered.records[seen], recovered.confidence[seen], recovered.certified[seen]
            )
        else:
            records = self._recover(view, prior)
            half = np.full(len(records), 0.5)
            recovered = Reconstruction(records, half, half > 1)
        members = {name for g in view.gradients for name in g.hospitals}
        sizes = dict(zip(view.plan.hospitals, view.plan.declared_sizes, strict=True))
        missing = sum(sizes[name] for name in members) - len(recovered)
        return join(recovered, guesses(prior, max(0, missing)))

    def group(self, observation: Observation, prior: Prior) -> Grouped:
        """Recover the patients of all sums, and say which are of one hospital.

        Raises:
          RefusedError: As ``reconstruct``; or one local step, where nothing tells them apart.
        """
        view = self._view(observation)
        if view.plan.local_steps == 1:
            raise RefusedError(
                "With one local step a sum is the same whoever its patients belong to; grouping "
                "needs local_steps > 1."
            )
        records = self._recover(view, prior)
        together = [
            relation
            for g in view.gradients
            for relation in _woken(view.plan, g, records, most=self.most)
        ]
        return Grouped(records, _components(len(records), together))

    def _view(self, observation: Observation) -> GradientView:
        view = require(observation, GradientView, self.name)
        if hidden_layer(view.plan.model) is None or view.plan.unit != Unit.PATIENT:
            raise RefusedError(
                "SRATTA reads hidden units of per-patient sums; this plan has model "
                f"{view.plan.model.kind!r} and unit {view.plan.unit.value!r}."
            )
        if not all(g.optimizer.adds_up for g in view.gradients):
            raise RefusedError(
                "SRATTA reads ratios of what a patient moved; Adam and weight decay move weights "
                "by something else as well. Walk the steps instead (fedavg)."
            )
        return view

    def _recover(self, view: GradientView, prior: Prior) -> NDArray[np.float64]:
        """Distinct records: those that some unit shows alone, then those beside a known one."""
        records = np.zeros((0, view.plan.model.features))
        fresh = [_alone(view.plan, g, prior.features) for g in view.gradients]
        while True:
            more = np.unique(np.concatenate([records, *fresh]), axis=0)
            if len(more) == len(records):
                return records
            known_records = {tuple(row) for row in records}
            new = np.array([row for row in more if tuple(row) not in known_records])
            shown = [_beside(view.plan, g, new, prior.features) for g in view.gradients]
            rows, times = np.unique(np.concatenate(shown), axis=0, return_counts=True)
            fresh = [rows[times >= _WITNESSES]]
            records = more


def _off(plan: Plan, gradient: Gradient) -> NDArray[np.float64]:
    """How far each unit's coordinates may be off, in steps: rounding in all steps, noise, error.

    Four deviations of the noise, by its public law: what stands out of it is still read. An error
    that is known of a captured update is the unit's largest.
    """
    rounding = (0.5 if plan.clip_norm is None else 1.0) * plan.local_steps
    weights, biases = first_layer(
        plan, np.zeros(plan.model.dim) if gradient.error is None else gradient.error
    )
    return np.asarray(rounding + 4 * gradient.noise_std + np.maximum(weights.max(axis=1), biases))


def _alone(plan: Plan, gradient: Gradient, features: tuple[Feature, ...]) -> NDArray[np.float64]:
    """Records whose ratio some unit shows, on the grid and beyond coincidence."""
    weights, biases = first_layer(plan, gradient.integers)
    off = _off(plan, gradient)
    loud = np.abs(biases) > 4 * off
    x, fits = _on_grid(weights[loud], biases[loud], features, off=off[loud], bits=_BITS)
    return x[fits]


def _on_grid(
    weights: NDArray[np.float64],
    biases: NDArray[np.float64],
    features: tuple[Feature, ...],
    *,
    off: NDArray[np.float64],
    bits: float,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Each row's nearest valid record, and whether it is that record beyond coincidence."""
    x = project(weights / biases[:, None], features)
    slack = 2 * off[:, None] * (1 + np.abs(x)) + 1e-6
    fits = (np.abs(weights - x * biases[:, None]) <= slack).all(axis=1)
    against = np.zeros(len(x))
    for f in features:
        if f.numeric:
            c = f.columns[0]
            against += np.log2(np.maximum(1, f.step / f.sd * np.abs(biases) / (2 * slack[:, c])))
    return x, fits & (against >= bits)


def _beside(
    plan: Plan,
    gradient: Gradient,
    records: NDArray[np.float64],
    features: tuple[Feature, ...],
) -> NDArray[np.float64]:
    r"""Records that a unit shows beside one known record a, whose part :math:`\lambda` is read off.

    In a column of 0 and 1 the unit shows :math:`\lambda a_c + (b - \lambda) x_c`. If a has 1 and x
    has 0 there, that is :math:`\lambda`; if a has 0 and x has 1, it is :math:`b - \lambda`.
    """
    weights, biases = first_layer(plan, gradient.integers)
    off = _off(plan, gradient)
    floor = 4 * off
    columns = [c for f in features if not f.numeric for c in f.columns]
    active = _preactivations(plan, gradient, records) > 0
    partners = [np.zeros((0, records.shape[1]))]
    for a, record in enumerate(records):
        rows = np.flatnonzero(active[:, a] & (np.abs(biases) > floor))
        shown, total = weights[rows], biases[rows, None]
        part = np.where(record[columns] > 0.5, shown[:, columns], total - shown[:, columns])
        rest = total - part
        loud = floor[rows, None]
        unit, choice = np.nonzero((np.abs(rest) > loud) & (np.abs(part) > loud))
        residual = shown[unit] - part[unit, choice, None] * record
        x, fits = _on_grid(
            residual, rest[unit, choice], features, off=off[rows[unit]], bits=_MORE_BITS
        )
        once = np.unique(np.column_stack([unit[fits], x[fits]]), axis=0)  # by unit
        partners.append(once[:, 1:])
    return np.concatenate(partners)


def _preactivations(
    plan: Plan, gradient: Gradient, records: NDArray[np.float64]
) -> NDArray[np.float64]:
    weights, biases = first_layer(plan, gradient.params)
    return np.asarray(weights @ records.T + biases[:, None])


def _woken(
    plan: Plan, gradient: Gradient, records: NDArray[np.float64], *, most: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """For each unit that is explained: who moved it awake, and who moved it though it slept."""
    if len(records) == 0:
        return []
    weights, biases = first_layer(plan, gradient.integers)
    before = _preactivations(plan, gradient, records)
    relations = []
    off = _off(plan, gradient)
    for j in np.flatnonzero(np.abs(biases) > 4 * off):
        likely = np.argsort(-before[j], kind="stable")[:most]
        target = np.append(weights[j], biases[j])
        movers = _movers(records[likely], target, float(off[j]))
        if movers is not None:
            awake = before[j, likely] > 0
            slept = likely[movers & ~awake]
            if len(slept):
                relations.append((likely[movers & awake], slept))
    return relations


def _movers(
    records: NDArray[np.float64], target: NDArray[np.float64], off: float
) -> NDArray[np.bool_] | None:
    """Which of the records moved a unit, if they explain it beyond coincidence; else None."""
    design = np.column_stack([records, np.ones(len(records))]).T
    movers = np.ones(len(records), dtype=np.bool_)
    while movers.any():
        parts, _, rank, _ = np.linalg.lstsq(design[:, movers], target, rcond=None)
        if rank < movers.sum():
            return None
        error = np.abs(design[:, movers] @ parts - target).max()
        slack = off * movers.sum()
        spread = np.linalg.norm(np.linalg.pinv(design[:, movers]), axis=1)
        small = np.abs(parts) <= 4 * slack * spread  # no more than rounding could feign
        if error > slack and not small.any():
            return None
        if not small.any():
            spare = len(target) - 2 * movers.sum()  # who moved it was chosen, too
            bits = spare * np.log2(np.abs(target).max() / (2 * slack))
            return movers if bits >= _BITS else None
        movers[np.flatnonzero(movers)[np.argmin(np.abs(parts) / spread)]] = False
    return None


def _components(
    count: int, relations: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> NDArray[np.int64]:
    """Join what belongs together until nothing more follows."""
    groups = np.arange(count)
    while True:
        pairs = [
            (awake[0], other)
            for awake, slept in relations
            if len(awake) and len(np.unique(groups[awake])) == 1
            for other in (*awake, *slept)
        ]
        if not pairs:
            return groups
        rows, columns = np.array(pairs).T
        graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
        joined = connected_components(graph, directed=False)[1].astype(np.int64)
        if np.array_equal(joined, groups):
            return groups
        groups = joined
