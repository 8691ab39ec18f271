"""How right the models are where they are used: by hospital, as risks, and as reasons to treat."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.run.plots import PAGE, legend, printed
from experiments.run.record import Record
from experiments.studies.design import Design, Regime
from experiments.studies.joining.arm_point import End, JoiningArm
from experiments.studies.joining.shown import by_cohort
from experiments.studies.joining.sums import THRESHOLDS, benefit_at, mean_of
from experiments.studies.joining.verdicts import ArmAt, ByArm, cohort_records, size_classes
from paper.points import Points

__all__ = ["draw_use"]

_SITES = (
    (Design.LOCAL_ONLY, None, "#000000", "o"),
    (Design.NONE, None, "#999999", "^"),
    (Design.SEALED, 1.0, "#0072B2", "s"),
    (Design.ARTICLE, 1.0, "#D55E00", "D"),
)
_MODELS: tuple[tuple[ArmAt, End, str, str, str], ...] = (
    ((JoiningArm.OWN, None), End.FIT, "#000000", "o", "own model"),
    ((JoiningArm.NONE, None), End.BARE, "#999999", "^", "no protection"),
    ((JoiningArm.SEALED, 1.0), End.BARE, "#0072B2", "s", "sealed, ε = 1"),
    ((JoiningArm.SEALED, 1.0), End.FIT, "#56B4E9", "v", "sealed, ε = 1, and a local fit"),
    ((JoiningArm.ARTICLE, 1.0), End.BARE, "#D55E00", "D", "the article's noise"),
)


@printed
def draw_use(records: Sequence[Record]) -> Figure | None:
    """Left AUC by hospital (heart), then calibration and net benefit (IST's confirmation half).

    Without the records of either there is none. Bars are 95 %: patients drawn on the left,
    hospitals and seeds on the right.
    """
    points = Points(records)
    halves = by_cohort([r for r in records if r.config["experiment"] == "joining"])
    whole = cohort_records(halves.get("ist-even", [])).whole
    drawn_points = [points.find(Regime.FULL, "logistic", design, at) for design, at, *_ in _SITES]
    if None in drawn_points or not {arm for arm, *_ in _MODELS} <= {*whole}:
        return None
    figure = Figure(figsize=(PAGE, 2.7), layout="constrained")
    sites, risks, treated = figure.subplots(1, 3)
    _by_hospital(sites, points)
    _as_risks(risks, whole)
    _as_treated(treated, whole)
    legend(figure, [risks, treated], columns=3)
    return figure


def _by_hospital(axes: Axes, points: Points) -> None:
    names: list[str] = []
    for k, (design, epsilon, color, marker) in enumerate(_SITES):
        result = points.find(Regime.FULL, "logistic", design, epsilon)
        sites = {} if result is None else result.metrics.auc_sites or {}
        names = list(sites)
        values = np.array([site.value for site in sites.values()])
        ends = [
            values - [site.lower for site in sites.values()],
            [site.upper for site in sites.values()] - values,
        ]
        places = np.arange(len(sites)) + 0.16 * (k - 1.5)
        axes.errorbar(
            values, places, xerr=ends, color=color, marker=marker, linestyle="", markersize=3.5,
            linewidth=1,
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel="AUC of the hospital's patients", title="heart, by hospital")
    axes.grid(alpha=0.25, linewidth=0.5)


def _as_risks(axes: Axes, whole: ByArm) -> None:
    axes.plot([0, 1], [0, 1], color="#555555", linestyle=":", linewidth=0.8)
    for arm, end, color, marker, label in _MODELS:
        bands = whole[arm].calibration[end].bands
        seen = np.array([band.observed.value for band in bands])
        ends = [
            seen - [band.observed.lower for band in bands],
            [band.observed.upper for band in bands] - seen,
        ]
        axes.errorbar(
            [band.predicted for band in bands], seen, yerr=ends, color=color, marker=marker,
            markersize=3, linewidth=0.9, elinewidth=0.5, label=label,
        )  # fmt: skip
    axes.set(xlabel="predicted risk", ylabel="observed", xlim=(0, 1), ylim=(0, 1))
    axes.set_title("stroke, calibration")


def _as_treated(axes: Axes, whole: ByArm) -> None:
    for k, (arm, end, color, marker, label) in enumerate(_MODELS):
        sums = whole[arm].ends[end]
        everybody = size_classes(sums)["all"]
        values = [mean_of(sums, everybody, figure=benefit_at(t)) for t in THRESHOLDS]
        mean = np.array([one.value for one in values])
        ends = [mean - [one.lower for one in values], [one.upper for one in values] - mean]
        places = np.array(THRESHOLDS) + 0.012 * (k - 2)
        axes.errorbar(
            places, mean, yerr=ends, color=color, marker=marker, markersize=3, linewidth=0.9,
            elinewidth=0.5, label=label,
        )  # fmt: skip
    axes.axhline(0, color="#555555", linestyle=":", linewidth=0.8)
    axes.set_xticks(THRESHOLDS, [f"{t:g}" for t in THRESHOLDS])
    axes.set(xlabel="treated from a risk of", ylabel="net benefit", title="stroke, decisions")
