"""The registry of studies: a new one is one entry here, and its command shows it."""

from collections.abc import Sequence

from experiments.run.record import Record
from experiments.run.study import Study
from experiments.studies import (
    asynchrony_study,
    correction_tables,
    correlated,
    inference,
    poor_labels,
    reliability,
    searched,
    spread,
)
from experiments.studies.deidentified import shown_tables as deidentified
from experiments.studies.frontier import overview as frontier
from experiments.studies.frontier.grid_figures import draw_headline
from experiments.studies.joining import shown as joining
from experiments.studies.joining.drawn_gains import draw_joining
from experiments.studies.learning_figures import (
    draw_asynchrony,
    draw_calibration,
    draw_correction,
)

__all__ = ["FRONTIER", "STUDIES", "by_study"]

FRONTIER = Study(
    ("frontier", "own pace"),
    "frontier",
    "inpatient frontier",
    tables=lambda records: [*frontier.tables(records), frontier.LEGEND],
    figures={"frontier": frontier.overview},
    plain=frontier.plain,
)
STUDIES: tuple[Study, ...] = (
    FRONTIER,
    Study(
        ("scaling",),
        "gain of sealing",
        "inpatient frontier --figure headline",
        figures={"headline": draw_headline},
    ),
    Study(("data equivalent",), "claim: three times the data", "inpatient claims"),
    Study(("gain",), "claims: gains in AUC", "inpatient claims"),
    Study(("uploads",), "claims: bytes", "inpatient claims"),
    Study(("readings",), "claims: the article's noise in three readings", "inpatient claims"),
    Study(
        ("correction",),
        "correction rules, calibration",
        "inpatient correction",
        tables=correction_tables.tables,
        figures={"correction": draw_correction, "calibration": draw_calibration},
    ),
    Study(
        ("poor labels",),
        "wrong and hidden labels",
        "inpatient correction",
        tables=lambda records: [poor_labels.table(records)],
    ),
    Study(
        ("asynchrony",),
        "hospitals at their own pace",
        "inpatient asynchrony",
        tables=lambda records: [*asynchrony_study.tables(records), asynchrony_study.LEGEND],
        figures={"asynchrony": draw_asynchrony},
    ),
    Study(
        ("inference",),
        "what is inferred beside whole patients",
        "inpatient inference",
        tables=lambda records: [inference.table(records)],
    ),
    Study(
        ("joining", "joining risk"),
        "whether joining pays, by size of hospital",
        "inpatient joining",
        tables=joining.tables,
        figures={"joining": draw_joining},
    ),
    Study(
        ("deidentified",),
        "de-identified tables",
        "inpatient deidentified",
        tables=deidentified.tables,
    ),
    Study(
        ("reliability",),
        "how sure the likelihood ratio may be",
        "inpatient reliability",
        tables=lambda records: [reliability.table(records)],
    ),
    Study(
        ("correlated",),
        "noise correlated over rounds",
        "inpatient correlated",
        tables=lambda records: [correlated.table(records)],
    ),
    Study(
        ("spread",),
        "how far an AUC moves with splits and noise",
        "inpatient spread",
        tables=lambda records: [spread.table(records)],
    ),
    Study(
        ("tuning", "tuning asynchrony", "tuning scaling"),
        "searches of settings",
        "inpatient tune",
        tables=searched.lines,
    ),
    Study(("replicate",), "published numbers, replicated", "python -m experiments.replicate"),
)


def by_study(records: Sequence[Record]) -> list[tuple[Study, list[Record]]]:
    """Return each study that has records, with them, in the studies' order."""
    kinds = [(study, [r for r in records if study.made(r)]) for study in STUDIES]
    return [(study, study_records) for study, study_records in kinds if study_records]
