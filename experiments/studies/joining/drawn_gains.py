"""The study's figure: what joining gains by size of hospital, and by number of hospitals."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.cohorts import called
from experiments.evaluation import Estimate
from experiments.run.plots import PAGE, legend, printed
from experiments.run.record import Record
from experiments.studies.joining.arm_point import End, JoiningArm
from experiments.studies.joining.shown import by_cohort
from experiments.studies.joining.sums import difference
from experiments.studies.joining.verdicts import ArmAt, ByArm, cohort_records, size_classes

__all__ = ["draw_joining"]

_PRIMARY = (JoiningArm.SEALED, 1.0)
_SHOWN: Mapping[tuple[ArmAt, End], tuple[str, str, str]] = {
    ((JoiningArm.NONE, None), End.BARE): ("#999999", "^", "joined, no protection"),
    (_PRIMARY, End.BARE): ("#0072B2", "s", "joined, sealed at epsilon 1"),
    (_PRIMARY, End.FIT): ("#D55E00", "o", "joined, sealed at epsilon 1, as a prior"),
    ((JoiningArm.SCORE, None), End.BARE): ("#009E73", "D", "the score that needs no training"),
}


@printed
def draw_joining(records: Sequence[Record], titles: Mapping[str, str] | None = None) -> Figure:
    """Difference in within-site AUC to each hospital's own model, with 95 % intervals.

    Args:
      records: Of the study, of any cohorts.
      titles: What a cohort is called, where its name is not enough.
    """
    cohorts = by_cohort(records)
    figure = Figure(figsize=(PAGE, 1.85 * len(cohorts) + 0.4), layout="constrained")
    rows = figure.subplots(len(cohorts), 2, squeeze=False, sharey="row")
    for row, (cohort, study_records) in zip(rows, cohorts.items(), strict=True):
        by_kind = cohort_records(study_records)
        _by_size(row[0], by_kind.whole)
        _by_number(row[1], by_kind.growing)
        row[0].set_ylabel("AUC less a hospital's own")
        row[0].set_title((titles or {}).get(cohort, called(cohort)), loc="left")
        for axes in row:
            axes.axhline(0, color="black", linewidth=0.8)
            axes.spines[["top", "right"]].set_visible(False)
    legend(figure, [rows[0][0]] if len(rows) else [], columns=2)
    return figure


def _by_size(axes: Axes, whole: ByArm) -> None:
    local = whole.get((JoiningArm.OWN, None))
    if local is None:
        return
    theirs = local.ends[End.FIT]
    classes = {name: among for name, among in size_classes(theirs).items() if among.any()}
    for k, ((arm, end), (color, marker, label)) in enumerate(_SHOWN.items()):
        metrics = whole.get(arm)
        if metrics is not None and end in metrics.ends:
            gains = [difference(metrics.ends[end], theirs, among) for among in classes.values()]
            places = [n + 0.16 * (k - 1.5) for n in range(len(classes))]
            _points(axes, places, gains, color, marker, label)
    counted = [f"{name}\n({int(among.sum())})" for name, among in classes.items()]
    axes.set_xticks(range(len(classes)), counted)
    axes.set_xlabel("patients of a hospital (hospitals scored)")


def _by_number(axes: Axes, growing: Mapping[int, ByArm]) -> None:
    some = {
        k: by for k, by in sorted(growing.items()) if {_PRIMARY, (JoiningArm.OWN, None)} <= {*by}
    }
    for k, ((arm, end), (color, marker, label)) in enumerate(_SHOWN.items()):
        if arm == _PRIMARY:
            gains = [
                difference(by[arm].ends[end], local, size_classes(local)["all"])
                for by in some.values()
                for local in (by[JoiningArm.OWN, None].ends[End.FIT],)
            ]
            places = [n + 0.16 * (k - 1.5) for n in range(len(some))]
            _points(axes, places, gains, color, marker, label)
    axes.set_xticks(range(len(some)), [str(k) for k in some])
    axes.set_xlabel("number of hospitals that join (of 20 to 60 patients each)")


def _points(
    axes: Axes,
    places: Sequence[float],
    gains: Sequence[Estimate],
    color: str,
    marker: str,
    label: str,
) -> None:
    values = [gain.value for gain in gains]
    ends = [[g.value - g.lower for g in gains], [g.upper - g.value for g in gains]]
    axes.errorbar(
        places, values, yerr=ends, fmt=marker, color=color, label=label, markersize=3, linewidth=1.0
    )
