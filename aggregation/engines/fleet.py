"""One-step rounds over tens of thousands of hospitals: the same integers, many hospitals at once.

A ``Federation`` holds an object, a ledger and a key for each hospital; here a block of hospitals is
computed in one go, and what is kept of it is its integer sum. Sums are those that every sealing
scheme opens to; nothing is sealed or signed. The budget is checked once for all hospitals, or, with
``ledgers``, in each hospital's own before a patient is read.

>>> fleet = Fleet.simulated(plan, lambda: network.blocks(), seed=0)    # doctest: +SKIP
>>> params, patients = fleet.advance(plan.first_model())              # doctest: +SKIP
"""

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from time import perf_counter
from typing import Protocol, runtime_checkable

import numpy as np
from dp_accounting import DpEvent, NeighboringRelation, NonPrivateDpEvent
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.books import Books
from aggregation.data.patients import SLOTS
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import round_event, run_event
from aggregation.rules import ContractUnit, FedSGD
from aggregation.sized import sealing_for
from aggregation.timing import Rounds
from aggregation.update import patient_gradients
from privacy._validate import natural
from privacy.accounting import epsilon
from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger import Ledger
from privacy.mechanisms import NoiseSource, OperatingSystem, Seeded, clip, to_integers
from privacy.unit import Unit

__all__ = ["Fleet", "HospitalBlock", "Phases"]

_ROWS = 4096  # patients clipped and rounded at once: their arrays stay in the processor's cache


@runtime_checkable
class HospitalBlock(Protocol):
    """Neighbouring hospitals, their patients one hospital after the other."""

    @property
    def offsets(self) -> Int[np.ndarray, "ends"]:
        """Where each hospital's patients begin, and the end."""
        ...

    @property
    def features(self) -> Float[np.ndarray, "patients features"]:
        """Standardised features."""
        ...

    @property
    def outcomes(self) -> Int[np.ndarray, "patients"]:
        """0 or 1."""
        ...


@dataclass
class Phases:
    """Where the time of a round goes, in seconds of all threads together.

    Attributes:
      read: Making or reading the patients.
      gradients: One row a patient.
      clip: To the clip norm.
      integers: Rounding, repairing and checking.
      sums: Sums of each hospital.
      noise: Samples and shares of noise.
      ledgers: Spending, and keeping digests.
    """

    read: float = 0.0
    gradients: float = 0.0
    clip: float = 0.0
    integers: float = 0.0
    sums: float = 0.0
    noise: float = 0.0
    ledgers: float = 0.0

    def add_up(self, other: "Phases") -> None:
        """Add the seconds of another part of the work."""
        for name, seconds in asdict(other).items():
            setattr(self, name, getattr(self, name) + seconds)


class Fleet:
    """All hospitals of a plan, computed a block at a time.

    Guarantees (each is a test in ``tests/aggregation/engines/test_fleet.py``):
      - every hospital's update, event and draw of noise is that of a ``Hospital`` in
        ``Federation.simulated`` with the same plan, patients and seed, bit for bit;
      - the block's size and the number of threads change nothing that is seeded;
      - the patients held at a time are those of ``threads`` + 1 blocks, whatever the number of
        hospitals; seeded noise keeps one stream (about 1 kB) a hospital besides;
      - a plan whose total passes the budget is refused before a patient is read;
      - with ``ledgers``, each round is spent in every hospital's own ledger before a block is
        asked for; of a hospital whose ledger refuses, nothing is computed and no noise is summed.

    Args:
      plan: One step a round, the patient as the unit, clipped; noise none, local or shared.
      blocks: Gives the hospitals in the plan's order, anew for each round.
      source: Of each hospital, by number; None: the operating system for all.
      target_epsilon: Budget of each hospital.
      threads: Blocks that are computed at the same time.
      ledgers: Fetches each hospital's ledger, by number (``aggregation.books``); None: none are
        kept. Their bytes are those of the scheme ``plain``, which the plan must name.

    Raises:
      InvalidInputError: A plan that this path does not cover.
      RefusedError: The plan's total passes the budget.
    """

    def __init__(
        self,
        plan: Plan,
        blocks: Callable[[], Iterable[HospitalBlock]],
        *,
        source: Callable[[int], NoiseSource] | None = None,
        target_epsilon: float = math.inf,
        threads: int = 1,
        ledgers: Callable[[int], Ledger] | None = None,
    ) -> None:
        natural(threads=threads, least=1)
        if (
            plan.unit != Unit.PATIENT
            or plan.local_steps != 1
            or plan.clip_norm is None
            or plan.noise == NoiseKind.ARTICLE
            or plan.scalars
            or plan.patient_hospitals > 1
            or plan.pass_rounds is not None
            or plan.correlated is not None
            or not self._takes_rule(plan)
        ):
            raise InvalidInputError(
                "A fleet takes one clipped step a round with the patient as the unit, in one "
                "hospital and one row each, noise none, local or shared, and rules whose updates "
                "all weigh 1; the plan has "
                f"unit={plan.unit.value!r}, local_steps={plan.local_steps}, "
                f"clip_norm={plan.clip_norm}, "
                f"patient_hospitals={plan.patient_hospitals}, pass_rounds={plan.pass_rounds}, "
                f"correlated={plan.correlated}, "
                f"noise={plan.noise.value!r}, "
                f"{len(plan.scalars)} scalars and the rule "
                f"{plan.used_rule.contract.name!r}. Use Federation."
            )
        self.plan = plan
        self._rule = plan.used_rule
        self._arrivals = Rounds(plan.hospitals, 1).arrivals(0)
        self._public = self._rule.begin(plan.first_model(), plan.hospitals)
        self.phases = Phases()
        self._blocks = blocks
        self._threads = threads
        self._clip_norm = plan.clip_norm
        self._probs = plan.sampling_probs  # worked out by the plan each time: kept
        self._shared = None if source else OperatingSystem()
        self._sources = [source(k) for k in range(len(plan.hospitals))] if source else []
        self._events: dict[float, DpEvent] = {}
        self.spent = self._afford(target_epsilon)
        self._books = None if ledgers is None else self._keep(ledgers)
        self._round = 0

    @classmethod
    def simulated(
        cls,
        plan: Plan,
        blocks: Callable[[], Iterable[HospitalBlock]],
        *,
        seed: int | tuple[int, ...],
        threads: int = 1,
        ledgers: Callable[[int], Ledger] | None = None,
    ) -> "Fleet":
        """Return a fleet that draws what ``Federation.simulated`` with this seed draws."""
        parts = (seed,) if isinstance(seed, int) else seed

        def source(hospital: int) -> NoiseSource:
            return Seeded((*parts, hospital))

        return cls(plan, blocks, source=source, threads=threads, ledgers=ledgers)

    def event(self, hospital: int) -> DpEvent:
        """The event of one round of one hospital, by its number."""
        prob = self._probs[hospital]
        if prob not in self._events:
            self._events[prob] = round_event(self.plan, self.plan.hospitals[hospital])
        return self._events[prob]

    def advance(self, params: Float[np.ndarray, "dim"]) -> tuple[Float[np.ndarray, "dim"], int]:
        """Run one round; return the next model and how many patients took part."""
        total = np.zeros(self.plan.model.dim, dtype=np.int64)
        patients = 0
        for updates, took_part in self._updates(params):
            total += updates.sum(axis=0)
            patients += took_part
        opening = self.plan.read(total, self._arrivals)
        after, self._public = self._rule.advance(self._public, params, opening)
        return after, patients

    @staticmethod
    def _takes_rule(plan: Plan) -> bool:
        rule, contract = plan.used_rule, plan.used_rule.contract
        if (
            contract.unit != ContractUnit.PATIENT
            or contract.memory
            or contract.opens_each
            or contract.adaptive
        ):
            return False
        public = rule.begin(plan.first_model(), plan.hospitals)
        return all(rule.weight(public, name, 0) == 1 for name in plan.hospitals)

    def updates(self, params: Float[np.ndarray, "dim"]) -> Iterator[Int[np.ndarray, "block dim"]]:
        """Yield each block's noised updates of one round, one row a hospital, in order."""
        for updates, _ in self._updates(params):
            yield updates

    def _updates(self, params: NDArray[np.float64]) -> Iterator[tuple[NDArray[np.int64], int]]:
        granted, first, passed = self._spend(), 0, 0

        def numbered() -> Iterator[tuple[int, HospitalBlock]]:
            nonlocal first
            start = perf_counter()
            for block in self._blocks():
                self.phases.read += perf_counter() - start
                yield first, block
                first += len(block.offsets) - 1
                start = perf_counter()

        source = numbered()
        with ThreadPoolExecutor(self._threads) as pool:
            waiting = [
                pool.submit(self._compute, params, granted, *b)
                for b in islice(source, self._threads)
            ]
            while waiting:
                done = waiting.pop(0)
                waiting += [
                    pool.submit(self._compute, params, granted, *b) for b in islice(source, 1)
                ]
                updates, took_part, phases = done.result()
                self.phases.add_up(phases)
                self._attach(passed, updates, granted)
                passed += len(updates)
                yield updates, took_part
        if first != len(self.plan.hospitals):
            raise InvalidInputError(
                f"The blocks hold {first} hospitals, the plan {len(self.plan.hospitals)}."
            )

    def _keep(self, ledgers: Callable[[int], Ledger]) -> Books:
        if self.plan.scheme != "plain":
            raise InvalidInputError(
                f"Ledgers keep digests of what is sent, and a fleet seals nothing: scheme "
                f"{self.plan.scheme!r} can't be told. Use scheme='plain', or Federation."
            )
        sealer = sealing_for(self.plan).sealer("fleet")
        protects = self._shared is not None
        return Books(self.plan, ledgers, self.event, sealer, protects=protects)

    def _spend(self) -> NDArray[np.bool_]:
        """Return which hospitals take part in the next round."""
        everybody = np.ones(len(self.plan.hospitals), dtype=np.bool_)
        if self._books is None:
            return everybody
        start = perf_counter()
        if self._round == 0:
            self._books.join()
        granted = self._books.spend(self._round)
        self._round += 1
        self.phases.ledgers += perf_counter() - start
        return granted

    def _attach(self, first: int, updates: NDArray[np.int64], granted: NDArray[np.bool_]) -> None:
        if self._books is not None:
            start = perf_counter()
            self._books.attach(first, updates, granted[first : first + len(updates)])
            self.phases.ledgers += perf_counter() - start

    def _compute(
        self,
        params: NDArray[np.float64],
        granted: NDArray[np.bool_],
        first: int,
        block: HospitalBlock,
    ) -> tuple[NDArray[np.int64], int, Phases]:
        phases = Phases()
        features, outcomes, offsets = block.features, block.outcomes, block.offsets
        count, dim = len(offsets) - 1, self.plan.model.dim
        take = granted[first : first + count]
        self._check_sizes(first, offsets)
        # As ids of patients that have none: counted in each hospital, whoever is drawn.
        slots = (np.arange(len(outcomes)) - np.repeat(offsets[:-1], np.diff(offsets))) % SLOTS
        if not take.all():
            rows = np.repeat(take, np.diff(offsets))
            features, outcomes, slots = features[rows], outcomes[rows], slots[rows]
            offsets = np.concatenate([[0], np.cumsum(rows)])[offsets]
        if self.plan.sampling_size is not None:
            start = perf_counter()
            taken = self._sample(first, offsets)
            features, outcomes, slots = features[taken], outcomes[taken], slots[taken]
            offsets = np.concatenate([[0], np.cumsum(taken)])[offsets]
            phases.noise += perf_counter() - start
        bounded = self._bounded_rows(params, first, features, outcomes, slots, offsets, phases)
        start = perf_counter()
        updates = np.zeros((count, dim), dtype=np.int64)
        full = np.diff(offsets) > 0
        if full.any():
            updates[full] = np.add.reduceat(bounded, offsets[:-1][full], axis=0)
        phases.sums += perf_counter() - start
        if self.plan.share_std > 0:
            start = perf_counter()
            updates += self._noise(first, count) * take[:, None]
            phases.noise += perf_counter() - start
        return updates, len(outcomes), phases

    def _bounded_rows(
        self,
        params: NDArray[np.float64],
        first: int,
        features: NDArray[np.float64],
        outcomes: NDArray[np.int64],
        slots: NDArray[np.int64],
        offsets: NDArray[np.int64],
        phases: Phases,
    ) -> NDArray[np.int64]:
        """Every patient's bounded integers: rows depend on themselves alone, so any cut will do."""
        rows = np.empty((len(outcomes), self.plan.model.dim), dtype=np.int64)
        for low, high, name in self._parts(first, offsets):
            part = slice(low, high)
            begin = perf_counter()
            gradients = patient_gradients(
                self.plan, name, params, features[part], outcomes[part], slots[part]
            )
            gradients_done = perf_counter()
            clipped = clip(gradients, clip_norm=self._clip_norm)
            clip_done = perf_counter()
            rows[part] = to_integers(clipped, radius=self.plan.radius).values
            phases.gradients += gradients_done - begin
            phases.clip += clip_done - gradients_done
            phases.integers += perf_counter() - clip_done
        return rows

    def _parts(self, first: int, offsets: NDArray[np.int64]) -> Iterator[tuple[int, int, str]]:
        """Yield rows that are computed at once, and a hospital whose rule they follow."""
        names, end = self.plan.hospitals, int(offsets[-1])
        if isinstance(self._rule, FedSGD):  # the same at all hospitals
            yield from ((low, min(low + _ROWS, end), names[first]) for low in range(0, end, _ROWS))
            return
        for k, (low, high) in enumerate(pairwise(offsets.tolist())):
            yield low, high, names[first + k]

    def _source(self, hospital: int) -> NoiseSource:
        return self._shared or self._sources[hospital]

    def _sample(self, first: int, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.concatenate(
            [
                np.ones(size, dtype=np.bool_)
                if self._probs[first + k] >= 1
                else self._source(first + k).poisson_sample(self._probs[first + k], int(size))
                for k, size in enumerate(np.diff(offsets))
            ]
        )

    def _noise(self, first: int, count: int) -> NDArray[np.int64]:
        """One share a hospital; shares of the operating system are independent in any case."""
        std, dim = self.plan.share_std, self.plan.model.dim
        if self._shared is not None:
            return self._shared.discrete_gaussian(std, count * dim).reshape(count, dim)
        return np.stack(
            [self._sources[first + k].discrete_gaussian(std, dim) for k in range(count)]
        )

    def _check_sizes(self, first: int, offsets: NDArray[np.int64]) -> None:
        declared = np.array(self.plan.declared_sizes[first : first + len(offsets) - 1])
        sizes = np.diff(offsets)
        if len(declared) < len(sizes) or (sizes > declared).any():
            raise InvalidInputError(
                f"Among hospitals {first} to {first + len(sizes) - 1} one has more patients than "
                "it declared, or is not in the plan. Declare at least as many."
            )

    def _afford(self, target_epsilon: float) -> float:
        """Return the certified epsilon of the run where it is largest; inf: unprotected."""
        worst = int(np.argmax(self._probs))  # all else is equal: who is drawn most often
        event = run_event(self.plan, self.plan.hospitals[worst])
        if isinstance(event, NonPrivateDpEvent):
            spent = math.inf
        else:
            relation = NeighboringRelation.ADD_OR_REMOVE_ONE
            spent = epsilon(event, delta=self.plan.delta, relation=relation).upper
        if spent > target_epsilon:
            raise RefusedError(
                f"The run would cost epsilon {spent:.4g} of {target_epsilon:g} allowed at delta "
                f"{self.plan.delta:g}; no patient was read. Use more noise or fewer rounds."
            )
        return spent
