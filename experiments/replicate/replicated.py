"""Every replicated number: its name, the published value, how ours is computed, why they differ."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aggregation.data.patients import Patients, Schema
from attacks.exact.closed_form import ClosedForm
from attacks.exact.spear import Spear
from attacks.malicious.active import isolation_rate
from attacks.scoring.rates import clopper_pearson, cluster_bootstrap
from attacks.suite import Attack
from experiments.cohorts import load
from experiments.replicate.adult import load_adult
from experiments.replicate.bounds import (
    BOUNDS,
    MeasuredBound,
    audit_median,
    isolated,
    reconstruction_success,
)
from experiments.replicate.certificates import hunt
from experiments.replicate.spear_on_adult import solve_batch
from experiments.replicate.sratta_on_adult import recover
from experiments.replicate.tableak_on_adult import PUBLISHED, OneHot, attack_batch
from experiments.run.record import Record, stamp, writable_folder
from privacy.accounting.gaussian import gaussian_mu

__all__ = ["PARTS", "Number", "numbers", "record_of"]

PARTS = ("tableak", "spear", "sratta", "imprint", "rero", "audit", "certificates")
_AUDITS = (  # epsilon, canaries, medians of five: one-run, f-DP
    (1.0, 1000, 0.0, 0.0),
    (1.0, 10_000, 0.20, 0.24),
    (4.0, 1000, 0.92, 1.32),
    (4.0, 10_000, 2.00, 2.34),
    (8.0, 1000, 2.25, 3.71),
    (8.0, 10_000, 3.05, 4.42),
)


@dataclass(frozen=True)
class Number:
    """One published number, to be computed.

    Attributes:
      config: What names the record; ``what`` says it in words.
      published: The paper's number, or what theory says, in words.
      compute: Returns ours: ``ours``, ``lower``, ``upper``.
      why: Why the two may differ.
    """

    config: Mapping[str, Any]
    published: str
    compute: Callable[[], Mapping[str, Any]]
    why: str


def record_of(number: Number, stamped: Mapping[str, Any]) -> Record:
    """Compute a number."""
    metrics = {**number.compute(), "published": number.published, "why": number.why}
    return Record(number.config, metrics, stamped)


def numbers(
    parts: Sequence[str],
    data_dir: Path | None,
    *,
    sizes: Sequence[int],
    batches: int,
    restarts: int,
    iterations: int,
    jobs: int,
    kept: Path,
) -> Iterator[Number]:
    """Yield the numbers of some parts; the table is read only if one of them needs it.

    ``kept`` is a folder for what is measured on single batches, so that a long number which was
    interrupted goes on where it stopped.

    Raises:
      InvalidInputError: The table is needed and can't be read; the error says where to get it.
    """
    if {"tableak", "spear", "sratta", "imprint"} & set(parts):
        people, schema = load_adult(data_dir)
        if "tableak" in parts:
            for size in sizes:
                yield _tableak(people, schema, size, batches, restarts, iterations, jobs, kept)
        if "spear" in parts:
            for size in (8, 12, 16, 18):
                yield _spear(people, schema, size)
        if "sratta" in parts:
            for trainings, rate in ((1, 1.0), (1, 4.0), (5, 4.0)):
                yield _sratta(people, schema, trainings, rate)
        if "imprint" in parts:
            yield _imprint(people, schema, patients=64, bins=512)
    if "certificates" in parts:
        yield _certificates(ClosedForm(), "A1", batches=10_000, largest=13)
        yield _certificates(Spear(), "SPEAR", batches=300, largest=9)
    if "rero" in parts:
        yield from (_rero(epsilon) for epsilon in (1.0, 2.0, 4.0, 8.0))
    if "audit" in parts:
        for epsilon, canaries, *medians in _AUDITS:
            for bound, published in zip(BOUNDS, medians, strict=True):
                yield _audit(epsilon, canaries, bound, published)


def _config(what: str, **settings: Any) -> dict[str, Any]:
    return {"experiment": "replicate", "what": what, "code_version": 1, **settings}


def _tableak(
    people: Patients,
    schema: Schema,
    size: int,
    batches: int,
    restarts: int,
    iterations: int,
    jobs: int,
    kept: Path,
) -> Number:
    def compute() -> dict[str, Any]:
        from joblib import Parallel, delayed

        results = Parallel(jobs)(
            delayed(_one)(people, schema, size, seed, restarts, iterations, kept)
            for seed in range(batches)
        )
        return tableak_metrics([(r["accuracy"], r["exact"], r["guess"]) for r in results])

    mean, sd = PUBLISHED.get((size, "tableak"), (None, None))
    return Number(
        _config(
            f"TabLeak, Adult, accuracy, batch {size}",
            part="tableak", size=size, batches=batches, restarts=restarts, iterations=iterations,
        ),
        "-" if mean is None else f"{mean:.3f} (sd {sd:.3f} over batches)",
        compute,
        "falling step and starts from the prior; the prior holds no attacked person",
    )  # fmt: skip


def tableak_metrics(results: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """Summarise batches' accuracy, share of exact records, and guessing."""
    accuracy, exact, guess = np.array(results).T
    low, high = cluster_bootstrap(accuracy, np.arange(len(accuracy)), np.random.default_rng(0))
    return {
        "ours": float(accuracy.mean()),
        "sd": float(accuracy.std(ddof=1)) if len(accuracy) > 1 else 0.0,
        "lower": low,
        "upper": high,
        "exact": float(exact.mean()),
        "guess": float(guess.mean()),
    }


def _one(
    people: Patients,
    schema: Schema,
    size: int,
    seed: int,
    restarts: int,
    iterations: int,
    kept: Path,
) -> Mapping[str, Any]:
    """Attack one batch, or read what an interrupted run of the same commit measured on it."""
    import torch

    settings = {"size": size, "seed": seed, "restarts": restarts, "iterations": iterations}
    batch = Record(_config("one batch", part="tableak", **settings), {}, stamp())
    path = kept / f"{batch.name}.json"
    if path.exists() and not batch.stamp["dirty"]:
        before = Record(**json.loads(path.read_text(encoding="utf-8")))
        if before.config == batch.config and before.stamp == batch.stamp:
            return before.metrics
    torch.set_num_threads(1)
    inputs = OneHot.of(schema, people)
    metrics = asdict(attack_batch(people, schema, inputs, **settings))
    replace(batch, metrics=metrics).write(writable_folder(kept))
    return metrics


def _spear(people: Patients, schema: Schema, size: int) -> Number:
    tries, limit = 10, 60.0

    def compute() -> dict[str, Any]:
        done = [solve_batch(people, schema, size=size, seed=seed) for seed in range(tries)]
        solved = sum(one.exact and one.seconds <= limit for one in done)
        low, high = clopper_pearson(solved, tries)
        return {"ours": solved / tries, "lower": low, "upper": high}

    return Number(
        _config(
            f"SPEAR, Adult, width 256, batch {size}, solved exactly within a minute",
            part="spear", size=size, width=256, tries=tries, limit_seconds=limit,
        ),
        "exact up to about 25",
        compute,
        "all bit vectors are tried in place of sampling; one output only, where SPEAR allows many",
    )  # fmt: skip


def _sratta(people: Patients, schema: Schema, trainings: int, rate: float) -> Number:
    def compute() -> dict[str, Any]:
        recovered = recover(people, schema, trainings=trainings, learning_rate=rate, seed=0)
        low, high = clopper_pearson(round(recovered.right * 500), 500)
        return {"ours": recovered.right, "lower": low, "upper": high, "wrong": recovered.wrong,
                "pairs": recovered.together, "pairs_right": recovered.correct}  # fmt: skip

    return Number(
        _config(
            f"SRATTA, Adult, 5 centres of 100, {trainings} trainings, step {rate:g}, recovered",
            part="sratta", trainings=trainings, learning_rate=rate,
        ),
        "images and DNA, 20 trainings, step 1",
        compute,
        "inputs of squared norm 12, not 45 and more: fewer units fall asleep at the same step",
    )  # fmt: skip


def _imprint(people: Patients, schema: Schema, *, patients: int, bins: int) -> Number:
    def compute() -> dict[str, Any]:
        return _plain(isolated(people, schema, patients=patients, bins=bins, seed=0))

    theory = isolation_rate(patients, bins)
    return Number(
        _config(
            f"Imprint, Adult, {patients} records, {bins} bins, isolated",
            part="imprint", patients=patients, bins=bins, batches=40,
        ),
        f"{theory:.3f} at equally likely bins",
        compute,
        "bins are quantiles of the prior's normal fit, not equally likely: 'expected' is for them",
    )  # fmt: skip


def _certificates(attack: Attack, title: str, *, batches: int, largest: int) -> Number:
    def compute() -> dict[str, Any]:
        cohort = load("heart")
        people = cohort.hospitals["cleveland"]
        hunted = hunt(attack, people, cohort.schema, batches=batches, largest=largest, seed=0)
        low, high = clopper_pearson(hunted.spoilt, batches)
        lower, upper = low * batches, high * batches
        return {"ours": hunted.spoilt, "lower": lower, "upper": upper, **asdict(hunted)}

    return Number(
        _config(
            f"{title}, heart, batches with a false certificate, of {batches:,}",
            part="certificates", attack=attack.name, batches=batches, largest=largest,
        ),
        "0 (a certificate is a proof)",
        compute,
        "the interval is what so many batches can show",
    )  # fmt: skip


def _rero(epsilon: float) -> Number:
    mu = gaussian_mu(epsilon=epsilon, delta=1e-5)

    def compute() -> dict[str, Any]:
        return _plain(reconstruction_success(mu, trials=100_000, seed=0))

    from scipy.stats import norm

    bound = float(norm.cdf(norm.ppf(0.1) + mu))
    return Number(
        _config(f"ReRo, ten candidates, epsilon {epsilon:g}", part="rero", epsilon=epsilon),
        f"at most {bound:.4f} (Theorem 2)",
        compute,
        "the attack is optimal for orthogonal gradients; the bound is met by two antipodal ones",
    )


def _audit(epsilon: float, canaries: int, bound: str, published: float) -> Number:
    def compute() -> dict[str, Any]:
        return _plain(audit_median(epsilon, canaries, bound, published))

    return Number(
        _config(
            f"Audit ({bound}), epsilon {epsilon:g}, {canaries} canaries, median bound",
            part="audit", epsilon=epsilon, canaries=canaries, bound=bound,
        ),
        f"{published:.2f} (median of 5)",
        compute,
        "both scatter: the interval holds 95 % of our medians of 5",
    )  # fmt: skip


def _plain(bound: MeasuredBound) -> dict[str, Any]:
    return {
        "ours": bound.value,
        "lower": bound.lower,
        "upper": bound.upper,
        "expected": bound.expected,
    }
