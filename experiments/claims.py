"""The claims of an article on federated learning for hospitals, each held against an experiment.

A claim has a rule, a function of records that says *holds*, *holds only if* (and if what) or *does
not hold*. The thresholds stand above the rules, which were written before their numbers but where
the paper's limits say otherwise. The article is paraphrased; its own noise, at its own epsilon, is
the design ``article``.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from attacks.intervals import student_half_width
from experiments import asynchrony, correction, grid, poor_labels
from experiments.asynchrony import GAP
from experiments.design import FLOOR
from experiments.equivalent import Equivalent
from experiments.equivalent_heart import OwnPatients
from experiments.evaluation.acceptance import PRIVACY_COST
from experiments.gains import Gain
from experiments.record import Record
from experiments.sweep import Point, sweep
from experiments.uploads import Uploads

__all__ = ["CLAIMS", "Claim", "Finding", "evaluate", "markdown", "run"]

Verdict = Literal["holds", "holds only if", "does not hold"]

RISK_MARGIN = 0.05  # over guessing one in ten: half of what guessing gives
TIMES = 3.0  # the article's data equivalent
LABEL_HARM = 0.01  # within-site AUC: what would be missed
SPEED = 10e6 / 8  # bytes a second of a modest line: 10 Mbit/s
_SEEDS = (0, 1, 2)
_REPETITIONS = 5  # of runs at hospitals' own pace


Records = Mapping[str, Sequence[Record]]


@dataclass(frozen=True)
class Finding:
    """What became of a claim.

    Attributes:
      claim: Its key.
      sentence: What is claimed, in our words.
      verdict: By the claim's rule.
      condition: If what, or why not.
      effect: What ``value`` is, with its unit.
      value: The effect.
      lower: Lower end of its 95 % interval; None where nothing is random.
      upper: Upper end.
      records: Names of the records that it rests on.
    """

    claim: str
    sentence: str
    verdict: Verdict
    condition: str
    effect: str
    value: float
    lower: float | None
    upper: float | None
    records: tuple[str, ...]


@dataclass(frozen=True)
class Claim:
    """A sentence, its experiments and its rule.

    Attributes:
      key: A short name.
      sentence: What is claimed, in our words.
      points: What has to be measured, from the experiment's seed.
      rule: Verdict, condition, effect, value and interval, from the points' records in order.
    """

    key: str
    sentence: str
    points: Callable[[int], Sequence[Point]]
    rule: Callable[[Sequence[Record]], "Ruling"]


@dataclass(frozen=True)
class Ruling:
    """What a rule says; see ``Finding``."""

    verdict: Verdict
    condition: str
    effect: str
    value: float
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Whole:
    """A point of another experiment, measured in one piece.

    Attributes:
      point: Has a ``config``.
      function: Measures it.
    """

    point: Any
    function: Callable[[Any, Path | None], dict[str, Any]]

    @property
    def config(self) -> Mapping[str, Any]:
        """The other experiment's own."""
        found: Mapping[str, Any] = self.point.config
        return found

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return str(self.config["experiment"])

    @property
    def units(self) -> tuple[int, ...]:
        """One."""
        return (0,)

    def measure(self, unit: int, data_dir: Path | None) -> dict[str, Any]:
        """Measure the point."""
        return self.function(self.point, data_dir)

    def summarise(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        """What was measured."""
        return parts[0]


def _raw_bytes(records: Sequence[Record]) -> Ruling:
    sealed, bare = records
    lost = sealed.metrics["unaccounted_bytes"]
    exact = bare.metrics["risk"]["exact"]
    if lost > 0:
        verdict: Verdict = "does not hold"
        condition = "bytes left that no ledger accounts for"
    elif exact > 0:
        verdict = "holds only if"
        condition = (
            "a record that can be read off an upload does not count as sent: from clear uploads of "
            f"small batches {exact:.0%} of the targets were read exactly, every feature right"
        )
    else:
        verdict, condition = "holds", "every byte is a release in its sender's ledger"
    return Ruling(verdict, condition, "bytes that no ledger accounts for", float(lost))


def _infeasible(records: Sequence[Record]) -> Ruling:
    guess = records[0].metrics["prior_success"]
    unsafe = {
        r.config["epsilon"] for r in records if r.metrics["risk"]["upper"] > guess + RISK_MARGIN
    }
    safe = sorted({r.config["epsilon"] for r in records} - unsafe)
    proven = [r for r in records if r.metrics["bound"] is not None]
    at_one = max(
        (r.metrics["risk"] for r in records if r.config["epsilon"] == 1.0),
        key=lambda risk: float(risk["lower"]),
    )
    kept = f"at epsilons {', '.join(f'{e:g}' for e in safe)} of one upload" if safe else "nowhere"
    condition = (
        f"naming one of ten stays within {RISK_MARGIN:g} of guessing {kept}; a bound is proved for "
        f"{len(proven)} of {len(records)} points, because the noise's scale follows the patients"
    )
    verdict: Verdict = "does not hold"
    if len(proven) == len(records) and not unsafe:
        verdict, condition = "holds", "measured and proved at every epsilon"
    elif safe and proven:
        verdict = "holds only if"
    return Ruling(
        verdict, condition, "patients named out of ten by the worst attack, epsilon 1",
        at_one["value"], at_one["lower"], at_one["upper"],
    )  # fmt: skip


def _no_impact(records: Sequence[Record]) -> Ruling:
    article, shared = (r.metrics["gain"] for r in records)
    verdict = _non_inferior(article, PRIVACY_COST)
    condition = (
        f"margin {PRIVACY_COST:g} of AUC, all patients in a round; sealed sums with one shared "
        f"noise at epsilon 1 for the whole run lose {-shared['value']:.3f} "
        f"({-shared['upper']:.3f} to {-shared['lower']:.3f})"
    )
    return Ruling(verdict, condition, "AUC, the article's noise less none", *_three(article))


def _threefold(records: Sequence[Record]) -> Ruling:
    network, real = records
    simulated = network.metrics["ratio_joined"]
    by_hospital = real.metrics["hospitals"]
    rows = [*simulated, *(r for h in by_hospital.values() for r in h["ratio_joined"])]
    met = [r for r in rows if r["lower"] >= TIMES]
    if len(met) == len(rows):
        verdict: Verdict = "holds"
    elif met:
        verdict = "holds only if"
    else:
        surely = any(r["upper"] < TIMES and not r["at_least"] for r in rows)
        verdict = "does not hold" if surely else "holds only if"

    def told(ratios: Sequence[Mapping[str, Any]]) -> str:
        sizes = [str(r["patients"]) for r in ratios if r["lower"] >= TIMES]
        return ", ".join(sizes) if sizes else "none"

    condition = (
        f"sizes at which the whole interval is above {TIMES:g}: "
        + "; ".join(f"{name} {told(h['ratio_joined'])}" for name, h in by_hospital.items())
        + f"; {network.config['hospitals']} simulated hospitals {told(simulated)}"
    )
    name, largest = next((n, h["ratio_joined"][-1]) for n, h in by_hospital.items())
    least = "at least so many " if largest["at_least"] else ""
    effect = f"{least}times its data, {name} with {largest['patients']} patients, without noise"
    return Ruling(verdict, condition, effect, *_three(largest))


def _auc_up(records: Sequence[Record]) -> Ruling:
    bare, sealed = records
    gains = [r.metrics["gain"] for r in records]
    names = sorted(n for n, g in bare.metrics["gain_sites"].items() if g["upper"] < 0)
    if all(g["lower"] > 0 for g in gains) and not names:
        verdict: Verdict = "holds"
    elif all(g["upper"] <= 0 for g in gains):
        verdict = "does not hold"
    else:
        verdict = "holds only if"
    sites = sealed.metrics["gain_sites"]
    better = sorted(n for n, g in sites.items() if g["lower"] > 0)
    condition = (
        f"against each hospital's own model, four real hospitals; sealed at epsilon 1: "
        f"{gains[1]['value']:+.3f} ({gains[1]['lower']:+.3f} to {gains[1]['upper']:+.3f}); "
        f"surely better at {', '.join(better) or 'no hospital'}, without noise surely worse at "
        f"{', '.join(names) or 'none'}"
    )
    return Ruling(verdict, condition, "AUC, federated less own, without noise", *_three(gains[0]))


def _acceptable(records: Sequence[Record]) -> Ruling:
    checks = [c for r in records for c in r.metrics["acceptance"]]
    judged = [c for c in checks if c["verdict"] != "too few"]
    passed = [c for c in judged if c["verdict"] == "pass"]
    failed = [c for c in judged if c["verdict"] == "fail"]
    if len(passed) == len(checks):
        verdict: Verdict = "holds"
    else:
        verdict = "does not hold" if failed else "holds only if"
    condition = (
        f"of {len(judged)} checks {len(failed)} fail and {len(judged) - len(passed) - len(failed)} "
        f"are open; {len(checks) - len(judged)} hospitals' checks have too few patients to judge"
    )
    return Ruling(verdict, condition, "fraction of checks passed", len(passed) / len(judged))


def _without_waiting(records: Sequence[Record]) -> Ruling:
    waits, *others = asynchrony.outcomes(records)
    with np.errstate(invalid="ignore"):  # never over never is never
        whole = _times(waits)
        ratios = {
            o.rule: np.nan_to_num(_times(o) / whole, nan=np.inf, posinf=np.inf) for o in others
        }
    best = min(ratios, key=lambda rule: float(ratios[rule].mean()))
    free = [rule for rule, found in ratios.items() if found.mean() <= 1]
    sealed = [rule for rule in free if rule.startswith("sealed")]
    if sealed:
        verdict: Verdict = "holds"
    else:
        verdict = "holds only if" if free else "does not hold"
    condition = (
        f"as close to pooled training as {GAP:g} nats in all {waits.seeds} repetitions, no later "
        f"than rounds that wait: {', '.join(free) or 'no rule'}; with noise: "
        f"{', '.join(sealed) or 'none of those tried'}"
    )
    effect = f"time of '{best}' over rounds that wait"
    ratio = float(ratios[best].mean())
    if not math.isfinite(ratio):
        return Ruling(verdict, condition, effect, 1e6)
    half = student_half_width(ratios[best])
    return Ruling(verdict, condition, effect, ratio, ratio - half, ratio + half)


def _times(found: asynchrony.Outcome) -> NDArray[np.float64]:
    """When each seed reached the gap; infinite where one never did."""
    return np.array([math.inf if r is None else r["time"] or 1e-9 for r in found.reached])


def _overhead(records: Sequence[Record]) -> Ruling:
    ratios = [r for record in records for r in record.metrics["bytes_over_table"].values()]
    most = max(sum(r.metrics["bytes"].values()) for r in records)
    verdict: Verdict = "holds" if min(ratios) > 1 else "holds only if"
    if max(ratios) <= 1:
        verdict = "does not hold"
    condition = (
        "a hospital uploads more than its own table over a run; at 10 Mbit/s the largest run's "
        f"uploads take {most / SPEED:.0f} s"
    )
    return Ruling(
        verdict, condition, "bytes sent over bytes of the hospital's table (median)",
        float(np.median(ratios)), min(ratios), max(ratios),
    )  # fmt: skip


def _poor_labels(records: Sequence[Record]) -> Ruling:
    half = len(records) // 2
    clean, spoilt = records[:half], records[half:]
    drops = np.array(
        [
            c.metrics["auc_within"] - s.metrics["auc_within"]
            for c, s in zip(clean, spoilt, strict=True)
        ]
    )
    spread = student_half_width(drops)
    mean = float(drops.mean())
    lower, upper = mean - spread, mean + spread
    verdict: Verdict = "holds only if"
    if lower > LABEL_HARM:
        verdict = "holds"
    elif upper < LABEL_HARM:
        verdict = "does not hold"
    harm = spoilt[0].config["harm"]
    condition = f"{harm} of four hospitals, clipped gradients; more than {LABEL_HARM:g} was asked"
    return Ruling(
        verdict, condition, "AUC lost by wrong labels at one hospital", mean, lower, upper
    )


def _non_inferior(gain: Mapping[str, Any], margin: float) -> Verdict:
    if gain["lower"] >= -margin:
        return "holds"
    return "does not hold" if gain["upper"] < -margin else "holds only if"


def _three(estimate: Mapping[str, Any]) -> tuple[float, float, float]:
    return estimate["value"], estimate["lower"], estimate["upper"]


def _core(*designs: tuple[str, float | None]) -> Callable[[int], list[Point]]:
    def points(seed: int) -> list[Point]:
        core = grid.group("small", seed)
        return [next(p for p in core if (p.design, p.epsilon) == d) for d in designs]

    return points


def _article_everywhere(seed: int) -> list[Point]:
    core = [*grid.group("small", seed), *grid.group("full", seed)]
    return [p for p in core if p.design == "article"]


def _gains(*pairs: tuple[Any, Any]) -> Callable[[int], list[Point]]:
    def points(seed: int) -> list[Point]:
        return [Gain(o, t, seeds=tuple(seed + s for s in _SEEDS)) for o, t in pairs]

    return points


def _corrected(seed: int) -> list[Point]:
    points = correction.grid(seed, rules=("sealed",))
    return [Whole(point, correction.measure) for point in points]


def _paced(seed: int) -> list[Point]:
    rules = ("synchronous", "fedbuff", "corrected", "memory", "sealed corrected", "sealed memory")
    points = asynchrony.grid(seed, seeds=_REPETITIONS, cohorts=("heart",), rules=rules)
    return [Whole(point, asynchrony.measure) for point in points]


def _labels(seed: int) -> list[Point]:
    return [
        Whole(poor_labels.Point(harm, "norm bound", seed + s), poor_labels.measure)
        for harm in ("none", "25 % wrong at one")
        for s in _SEEDS
    ]


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "raw bytes",
        "No byte of raw patient data leaves a hospital.",
        lambda seed: [Uploads(seed=seed), *_core(("none", None))(seed)],
        _raw_bytes,
    ),
    Claim(
        "infeasible",
        "Noise on the gradients makes inversion mathematically infeasible.",
        _article_everywhere,
        _infeasible,
    ),
    Claim(
        "no impact",
        "That noise does not significantly impact the model's performance.",
        _gains((("article", 1.0), ("none", None)), (("sealed", 1.0), ("none", None))),
        _no_impact,
    ),
    Claim(
        "threefold",
        "Joining is worth three times a hospital's own data.",
        lambda seed: [
            Equivalent(seeds=tuple(range(seed, seed + 5))),
            OwnPatients(seeds=tuple(range(seed, seed + 10))),
        ],
        _threefold,
    ),
    Claim(
        "AUC up",
        "A model trained across hospitals predicts better than a hospital's own.",
        _gains((("none", None), (FLOOR, None)), (("sealed", 1.0), (FLOOR, None))),
        _auc_up,
    ),
    Claim(
        "acceptable",
        "Weighting and correction bring every type of hospital into an acceptable range.",
        _corrected,
        _acceptable,
    ),
    Claim(
        "no waiting",
        "Hospitals upload at their own pace and nobody waits for all.",
        _paced,
        _without_waiting,
    ),
    Claim(
        "overhead",
        "Communication overhead is genuine.",
        lambda seed: [
            Uploads(seed=seed),
            Uploads(regime="small", model="mlp", seed=seed),
        ],
        _overhead,
    ),
    Claim(
        "poor labels",
        "Hospitals with poor labels drag the whole model down.",
        _labels,
        _poor_labels,
    ),
)


def run(
    out: Path,
    *,
    seed: int = 0,
    only: Sequence[str] = (),
    jobs: int = -1,
    backend: str = "joblib",
    data_dir: Path | None = None,
    console: Console | None = None,
) -> list[Finding]:
    """Measure what has no record in ``out`` yet, and judge every claim (or those in ``only``)."""
    chosen = [claim for claim in CLAIMS if not only or claim.key in only]
    points = [point for claim in chosen for point in claim.points(seed)]
    records = sweep(out, points, jobs=jobs, backend=backend, data_dir=data_dir, console=console)
    return evaluate({r.name: r for r in records}, seed=seed, only=only)


def evaluate(
    records: Mapping[str, Record], *, seed: int = 0, only: Sequence[str] = ()
) -> list[Finding]:
    """Judge claims by records that are there.

    Args:
      records: By name.
      seed: Which experiment's.
      only: Keys of claims; empty: all.

    Raises:
      KeyError: A record is missing.
    """
    found = []
    for claim in CLAIMS:
        if only and claim.key not in only:
            continue
        names = [Record(p.config, {}, {}).name for p in claim.points(seed)]
        ruling = claim.rule([records[name] for name in names])
        found.append(Finding(claim.key, claim.sentence, records=tuple(names), **asdict(ruling)))
    return found


def markdown(findings: Sequence[Finding]) -> str:
    """The findings as a table for the README."""
    lines = ["| claim | verdict | effect | why, or if what |", "|---|---|---|---|"]
    for f in findings:
        between = "" if f.lower is None else f" ({f.lower:.3g} to {f.upper:.3g})"
        effect = f"{f.effect}: {f.value:.3g}{between}"
        lines.append(f"| {f.sentence} | **{f.verdict}** | {effect} | {f.condition} |")
    return "\n".join(lines)
