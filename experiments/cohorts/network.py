r"""A simulated network of hospitals of two tiers, any number of them, made on the fly.

Why simulate: four hospitals can't show what hundreds do, and only here is the truth known. Layers:

1. a latent *frailty* shapes each patient's age, pressure, lipids, kidneys and diabetes;
2. tier-3 hospitals see older, sicker, more treated patients than community clinics;
3. the event follows the PREVENT equations (see ``prevent``) plus the tier's *referral severity*
   (log-odds 0.6 in tier 3) plus the hospital's own effect (SD 0.25);
4. some events are never recorded (1 % in tier 3, 15 % in clinics), some values never measured
   (3 % and 20 %), and these become public constants.

One knob, ``heterogeneity``, scales every difference between tiers and hospitals: at 0 all hospitals
draw from one population, at 1 the differences are as above.

>>> network = Network(hospitals=3, heterogeneity=1.0, seed=0)
>>> [tier for block in network.blocks() for tier in block.tiers]
['clinic', 'clinic', 'clinic']
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from aggregation.data.folds import Cohort, Fold
from aggregation.data.patients import Column, Patients, Schema
from experiments.cohorts.prevent import log_odds
from privacy._validate import fraction, natural

__all__ = ["SCHEMA", "Network", "NetworkBlock"]

BLOCK = 256  # hospitals made at once; part of what a seed means

# Centres and units are those of the PREVENT terms (Khan et al. 2024, Table S12), in clinical units:
# non-HDL 3.5 mmol/l and 1 mmol/l, HDL 1.3 and 0.3 mmol/l, eGFR 90 and 15.
SCHEMA = Schema(
    (
        Column("female"),
        Column("age", 55.0, 10.0, low=30.0, high=79.0, step=1.0, binary=False),
        Column("non-HDL", 135.0, 39.0, low=60.0, high=300.0, step=1.0, binary=False),
        Column("HDL", 50.0, 12.0, low=20.0, high=100.0, step=1.0, binary=False),
        Column("SBP", 130.0, 20.0, low=90.0, high=200.0, step=1.0, binary=False),
        Column("eGFR", 90.0, 15.0, low=15.0, high=140.0, step=1.0, binary=False),
        Column("diabetes"),
        Column("smoker"),
        Column("antihypertensive"),
        Column("statin"),
    ),
    outcome="cardiovascular event within 10 years, as recorded",
)


@dataclass(frozen=True)
class _Tier:
    """What tells one tier from the other; each value is scaled towards the mean of the two."""

    log_size: float  # log of the median number of patients
    frailty: float  # mean of the latent frailty, SDs
    age: float  # years added
    treatment: float  # log-odds of being treated, added
    severity: float  # log-odds of an event, added
    unrecorded: float  # probability that an event is not recorded
    unmeasured: float  # probability that a value is not measured


_TIER3 = _Tier(math.log(400), 0.3, 4.0, 0.5, 0.6, 0.01, 0.03)
_CLINIC = _Tier(math.log(160), -0.1, -2.0, -0.3, 0.0, 0.15, 0.20)
_HOSPITAL_SD = 0.25  # log-odds
_SIZE_SD = 0.4  # of the log of the number of patients


@dataclass(frozen=True)
class NetworkBlock:
    """Some neighbouring hospitals; patients lie one hospital after the other.

    Attributes:
      first: Number of the first hospital.
      tiers: ``tier3`` or ``clinic``, one a hospital.
      offsets: Where each hospital's patients begin, and the end; ``[hospitals + 1]``.
      features: As a hospital has them: standardised, unmeasured values at their public constant;
        ``[patients, features]``.
      outcomes: As recorded, ``[patients]``.
      events: As they happened, ``[patients]``.
      risks: True probability of the event given all true values and the hospital, ``[patients]``.
      recorded: True probability that the event happens *and* is recorded, ``[patients]``.
    """

    first: int
    tiers: tuple[str, ...]
    offsets: Int[np.ndarray, "ends"]
    features: Float[np.ndarray, "patients features"]
    outcomes: Int[np.ndarray, "patients"]
    events: Int[np.ndarray, "patients"]
    risks: Float[np.ndarray, "patients"]
    recorded: Float[np.ndarray, "patients"]

    @property
    def names(self) -> tuple[str, ...]:
        """``clinic-00000``, ``tier3-00009``, ...; one a hospital."""
        return tuple(f"{tier}-{self.first + i:05d}" for i, tier in enumerate(self.tiers))

    def rows(self, place: int) -> slice:
        """Rows of one hospital's patients, by its place in the block."""
        return slice(int(self.offsets[place]), int(self.offsets[place + 1]))

    def patients(self, place: int) -> Patients:
        """One hospital's patients, by its place in the block; ids count within the hospital."""
        rows = self.rows(place)
        return Patients(self.features[rows], self.outcomes[rows])


@dataclass(frozen=True)
class Network:
    """What a network is; nothing is made before it is asked for.

    Guarantees (each is a test in ``tests/experiments/cohorts/test_network.py``):
      - hospital i is the same, bit for bit, whatever the number of hospitals;
      - memory grows with a block, not with the number of hospitals;
      - another ``draw`` has the same hospitals (tiers, sizes, effects) and other patients;
      - at ``heterogeneity`` 0 the hospitals of both tiers draw from one population;
      - ``bayes_auc`` is beaten by no score, to within sampling error.

    Attributes:
      hospitals: Number of hospitals.
      heterogeneity: In [0, 1].
      seed: An experiment's seed.
      tier3_fraction: Fraction of hospitals that are tier 3, spread evenly.
      draw: Which draw of patients: small clinics see too few events for a cross-validation, so
        models are tested on the next draw of the same hospitals' patients.

    Raises:
      InvalidInputError: No hospital, or a fraction outside [0, 1].
    """

    hospitals: int = 40
    heterogeneity: float = 1.0
    seed: int = 0
    tier3_fraction: float = 0.1
    draw: int = 0

    def __post_init__(self) -> None:
        natural(hospitals=self.hospitals, least=1)
        natural(seed=self.seed)
        natural(draw=self.draw)
        fraction(heterogeneity=self.heterogeneity)
        fraction(tier3_fraction=self.tier3_fraction)

    def blocks(self) -> Iterator[NetworkBlock]:
        """Make the hospitals, a block at a time, in order."""
        for first in range(0, self.hospitals, BLOCK):
            yield self._block(first, min(BLOCK, self.hospitals - first))

    def cohort(self, name: str = "network") -> Cohort:
        """Hold all hospitals at once."""
        hospitals, tiers = {}, {}
        for block in self.blocks():
            for place, (hospital, tier) in enumerate(zip(block.names, block.tiers, strict=True)):
                hospitals[hospital] = block.patients(place)
                tiers[hospital] = tier
        return Cohort(name, hospitals, SCHEMA, tiers)

    def fold(self) -> Fold:
        """Train on this draw of patients, test on the next one of the same hospitals."""
        later = replace(self, draw=self.draw + 1)
        return Fold(train=self.cohort().hospitals, test=later.cohort().hospitals)

    def bayes_auc(self) -> float:
        r"""Return the within-site AUC of the true risks for the recorded outcomes.

        No score computed from the patients' values can expect more. Outcomes are averaged over
        rather than drawn: over pairs of a hospital's patients, pair (i, j) counts
        :math:`p_i (1 - p_j)`, with p the probability of a recorded event.
        """
        wins = pairs = 0.0
        for block in self.blocks():
            for place in range(len(block.tiers)):
                prob = np.sort(block.recorded[block.rows(place)])  # the order of the risks
                below = np.cumsum(1 - prob) - (1 - prob)
                wins += float((prob * below).sum())
                pairs += float(prob.sum() * (1 - prob).sum() - (prob * (1 - prob)).sum())
        return wins / pairs

    def _block(self, first: int, kept: int) -> NetworkBlock:
        """Make a whole block, whatever the number of hospitals, and keep its beginning."""
        rng = np.random.default_rng([self.seed, first])
        numbers = first + np.arange(BLOCK)
        share = self.tier3_fraction
        is_tier3 = np.floor((numbers + 1) * share + 1e-9) > np.floor(numbers * share + 1e-9)
        log_size = self._mixed("log_size", is_tier3)
        sizes = np.rint(np.exp(log_size + _SIZE_SD * rng.normal(size=BLOCK))).astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        effect = self.heterogeneity * _HOSPITAL_SD * rng.normal(size=BLOCK)
        rng = np.random.default_rng([self.seed, first, self.draw])  # from here on: patients
        tier3 = np.repeat(is_tier3, sizes)
        values = self._covariates(tier3, rng)
        logits = _true_logits(values) + self._mixed("severity", tier3) + np.repeat(effect, sizes)
        risks = 1 / (1 + np.exp(-logits))
        recorded = risks * (1 - self._mixed("unrecorded", tier3))
        events, noticed = rng.random((2, offsets[-1]))
        happened = events < risks
        outcomes = happened & (noticed >= self._mixed("unrecorded", tier3))
        features = self._measured(values, tier3, rng)
        end = int(offsets[kept])
        return NetworkBlock(
            first,
            tuple("tier3" if t else "clinic" for t in is_tier3[:kept]),
            offsets[: kept + 1],
            features[:end],
            outcomes[:end].astype(np.int64),
            happened[:end].astype(np.int64),
            risks[:end],
            recorded[:end],
        )

    def _mixed(self, name: str, tier3: Bool[np.ndarray, "any"]) -> Float[np.ndarray, "any"]:
        """The tier's value, drawn towards the mean of the tiers as heterogeneity falls."""
        high, low = getattr(_TIER3, name), getattr(_CLINIC, name)
        common = (high + low) / 2
        ours = np.where(tier3, high, low)
        return np.asarray(common + self.heterogeneity * (ours - common))

    def _covariates(
        self, tier3: Bool[np.ndarray, "patients"], rng: np.random.Generator
    ) -> Float[np.ndarray, "features patients"]:
        """True values in clinical units, one row a column of the schema."""
        n = len(tier3)
        residuals = rng.normal(size=(6, n))  # what frailty leaves unexplained
        chance = rng.random((5, n))
        frailty = self._mixed("frailty", tier3) + residuals[0]
        treatment = self._mixed("treatment", tier3)
        age = 55 + self._mixed("age", tier3) + 5 * frailty + 8 * residuals[1]
        female = chance[0] < 0.5
        sbp = 126 + 4 * (age - 55) / 10 + 5 * frailty + 14 * residuals[2]
        antihypertensive = chance[1] < _sigmoid(
            -0.9 + 0.05 * (age - 55) + 0.05 * (sbp - 130) + treatment
        )
        statin = chance[2] < _sigmoid(-1.2 + 0.05 * (age - 55) + 0.3 * frailty + treatment)
        diabetes = chance[3] < _sigmoid(-2.1 + 0.6 * frailty + 0.02 * (age - 55))
        smoker = chance[4] < 0.18
        values = np.stack(
            [
                female,
                age,
                150 - 30 * statin + 34 * residuals[3],
                48 + 9 * female - 3 * frailty + 12 * residuals[4],
                sbp - 8 * antihypertensive,
                90 - 9 * (age - 55) / 10 - 5 * frailty + 13 * residuals[5],
                diabetes,
                smoker,
                antihypertensive,
                statin,
            ]
        ).astype(float)
        low = np.array([[c.low] for c in SCHEMA.columns])
        high = np.array([[c.high] for c in SCHEMA.columns])
        return np.asarray(np.clip(np.rint(values), low, high))

    def _measured(
        self,
        values: Float[np.ndarray, "features patients"],
        tier3: Bool[np.ndarray, "patients"],
        rng: np.random.Generator,
    ) -> Float[np.ndarray, "patients features"]:
        """Standardised features, each laboratory or recorded value missing by chance."""
        mean = np.array([[c.mean] for c in SCHEMA.columns])
        sd = np.array([[c.sd] for c in SCHEMA.columns])
        features = (values - mean) / sd
        missing = rng.random(values.shape) < self._mixed("unmeasured", tier3)
        missing[:2] = False  # sex and age are always known
        features[missing] = 0.0
        return np.ascontiguousarray(features.T)


def _true_logits(values: Float[np.ndarray, "features patients"]) -> NDArray[np.float64]:
    female, age, non_hdl, hdl, sbp, egfr, diabetes, smoker, treated, statin = values
    return log_odds(
        female=female,
        age=age,
        total_cholesterol=non_hdl + hdl,
        hdl=hdl,
        sbp=sbp,
        egfr=egfr,
        diabetes=diabetes,
        smoker=smoker,
        antihypertensive=treated,
        statin=statin,
    )


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))
