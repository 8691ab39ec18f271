"""De-identified tables lose clinical value and can be re-identified: the rule, from records.

The k of the tables that are judged stand in ``paper/protocol.md``, which was written before any
number; what was open there (which fields, whose table, how coarse) and this rule were written after
the confirmation half had been read, and before any number of this study.
"""

from collections.abc import Sequence

from experiments.margins import PRIVACY_COST, RISK_MARGIN
from experiments.run.record import Record
from experiments.studies.claim_words import Text
from experiments.studies.conclusion import Conclusion, side_of
from experiments.studies.deidentified.published_point import DeidentifiedPoint
from experiments.studies.deidentified.table_metrics import TableMetrics, read_tables
from experiments.studies.people import LINEUP
from experiments.studies.ruling import Ruling, three

__all__ = ["JUDGED", "tables_rule", "way_of"]

JUDGED = (5, 20)
"""Of ``paper/protocol.md``."""


def way_of(point: DeidentifiedPoint) -> Text:
    """What is made coarser, and whose table it is."""
    what = Text("all fields", "全部字段")
    if point.quasi:
        what = Text(" and ".join(point.quasi) + " alone", "仅" + "、".join(point.quasi))
    whose = Text("a curator's table", "一位保管者的一张表") if point.curator else Text(
        "each hospital's own table", "各院自己的表")  # fmt: skip
    return Text(f"{what.en}, {whose.en}", f"{what.zh}，{whose.zh}")


def tables_rule(records: Sequence[Record]) -> Ruling | None:
    """Judge the sentence: it asks both of a table, that it loses and that it names.

    A table *loses* where the interval of its AUC less pooled training's is below -``PRIVACY_COST``,
    and *keeps* where it is above. It *names* where the interval of the risk under who knows nobody
    is above guessing by ``RISK_MARGIN``, and *hides* where it is below.

    Args:
      records: Of all studies; without any of this one there is no ruling.
    """
    releases = read_tables([r for r in records if r.config["experiment"] == "deidentified"])
    tables = [
        (_called(way_of(one.point), table), table)
        for one in sorted(releases, key=lambda one: (one.point.quasi, one.point.curator))
        for table in one.metrics.tables
        if table.k in JUDGED
    ]
    if not tables:
        return None
    keeps = {name: side_of(t.less_pooled, -PRIVACY_COST) for name, t in tables}
    names = {name: side_of(t.risk, 1 / LINEUP + RISK_MARGIN) for name, t in tables}
    yes, no = Conclusion.HOLDS, Conclusion.DOES_NOT_HOLD
    both = [name for name, _ in tables if keeps[name] is no and names[name] is yes]
    spared = [name for name, _ in tables if keeps[name] is yes or names[name] is no]
    if len(both) == len(tables):
        verdict, first = yes, Text("Every table does both", "每张表两者兼有")
    elif both:
        verdict = Conclusion.HOLDS_ONLY_IF
        first = Text(
            f"It holds only if the table is one of these: {_listed(both).en}",
            f"仅当表为以下之一时才成立：{_listed(both).zh}",
        )
    elif len(spared) == len(tables):
        verdict, first = no, Text("No table does both", "没有一张表两者兼有")
    else:
        verdict = Conclusion.UNDECIDED
        first = Text("No table surely does both", "没有一张表肯定两者兼有")
    sides = (
        (Text(f"the AUC is surely lower by {PRIVACY_COST:g}",
              f"AUC 肯定降低超过 {PRIVACY_COST:g}"), keeps, no),
        (Text("patients are surely named", "患者肯定会被指认"), names, yes),
        (Text("neither, surely", "肯定两者皆无"), None, yes),
    )  # fmt: skip
    listings = [
        (what, _listed([n for n, _ in tables if _is(n, side, value, keeps, names)]))
        for what, side, value in sides
    ]
    condition = Text(
        f"{first.en}; of {len(tables)} tables: "
        + "; ".join(f"{what.en}: {which.en}" for what, which in listings)
        + ".",
        f"{first.zh}；{len(tables)} 张表中："
        + "；".join(f"{what.zh}：{which.zh}" for what, which in listings)
        + "。",
    )
    name, chosen = tables[0]
    effect = Text(
        f"AUC of a model of the published rows less pooled training's, {name.en}",
        f"用公布的行训练的模型的 AUC 减去集中训练的 AUC，{name.zh}",
    )
    return Ruling(verdict, condition, effect, *three(chosen.less_pooled))


_Sides = dict[Text, Conclusion]


def _is(name: Text, side: _Sides | None, value: Conclusion, keeps: _Sides, names: _Sides) -> bool:
    if side is None:
        return keeps[name] is Conclusion.HOLDS and names[name] is Conclusion.DOES_NOT_HOLD
    return side[name] is value


def _called(way: Text, table: TableMetrics) -> Text:
    return Text(f"{way.en}, k = {table.k}", f"{way.zh}，k = {table.k}")


def _listed(names: Sequence[Text]) -> Text:
    if not names:
        return Text("none", "无")
    return Text("; ".join(f"({n.en})" for n in names), "；".join(f"（{n.zh}）" for n in names))
