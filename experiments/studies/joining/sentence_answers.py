"""Two sentences of the article that the records of joining answer: alone, and aggregated naively.

Both halves of IST stand together, hospital beside hospital. The rules were written after the
confirmation half had been read: nothing here is confirmed. They are judged by size class, with
Holm's correction over the tests of a sentence; intervals draw hospitals and seeds.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.evaluation import Estimate
from experiments.evaluation.several_tests import holm, p_beyond
from experiments.margins import AUC_MARGIN, LEVEL, PRIVACY_COST
from experiments.run.record import Record
from experiments.studies.claim_words import Text, ends
from experiments.studies.conclusion import Conclusion, side_of
from experiments.studies.joining.arm_point import End, JoiningArm
from experiments.studies.joining.sums import HospitalSums, difference
from experiments.studies.joining.verdicts import cohort_records, size_classes
from experiments.studies.ruling import Ruling, three

__all__ = ["COHORTS", "alone", "naively", "side_by_side"]

COHORTS = ("ist-odd", "ist-even")


def alone(records: Sequence[Record]) -> Ruling | None:
    """A single hospital's data are too few: its own model is ``AUC_MARGIN`` below the joined one.

    The joined model has no protection, and each hospital fits what it likes around it: the sentence
    is about data, not about what protecting them costs.

    Args:
      records: Of all studies; where those of a half are missing there is no ruling.
    """
    arms = _own_and_joined(records, End.FIT)
    if arms is None:
        return None
    local, joined = arms
    gains = _by_class(local, lambda among: difference(joined, local, among))
    sides = _corrected({name: (gain, AUC_MARGIN) for name, gain in gains.items()})
    each = _gaps(joined, local)
    first = _opening(
        sides,
        Text(
            f"the AUC of a hospital's own model is surely more than {AUC_MARGIN:g} below that of "
            "the joined one",
            f"医院自己的模型的 AUC 肯定比联合模型低 {AUC_MARGIN:g} 以上",
        ),
    )
    gained = _told(gains)
    condition = Text(
        f"{first.en}. AUC gained, by patients of a hospital: {gained.en}. Of {len(each)} hospitals "
        f"{int((each > AUC_MARGIN).sum())} gain more than {AUC_MARGIN:g}, and "
        f"{int((each < 0).sum())} rank better alone (each without an interval of its own).",
        f"{first.zh}。按医院患者人数列出的 AUC 增益：{gained.zh}。{len(each)} 家医院中有"
        f" {int((each > AUC_MARGIN).sum())} 家增益超过 {AUC_MARGIN:g}，"
        f"{int((each < 0).sum())} 家独自训练时排序更好（单家医院没有区间）。",
    )
    effect = Text("AUC, joined without protection less own", "AUC：无保护的联合模型减去本院模型")
    whole = difference(joined, local, size_classes(local)["all"])
    return Ruling(_verdict(sides), condition, effect, *three(whole))


def naively(records: Sequence[Record]) -> Ruling | None:
    """Aggregation without any correction fails at some kinds of hospital: sizes are the kinds.

    The opened model, which nobody fitted anything around, against each hospital's own. It *fails*
    in a class where its AUC is surely lower by ``PRIVACY_COST``, or its Brier score surely higher.

    Args:
      records: As of ``alone``.
    """
    arms = _own_and_joined(records, End.BARE)
    if arms is None:
        return None
    local, joined = arms
    ranked = _by_class(local, lambda among: difference(local, joined, among))
    sure = _by_class(local, lambda among: difference(joined, local, among, figure="brier"))
    sides = _corrected(
        {f"{name} (AUC)": (harm, PRIVACY_COST) for name, harm in ranked.items()}
        | {f"{name} (Brier)": (harm, 0.0) for name, harm in sure.items()}
    )
    first = _opening(
        sides,
        Text(
            f"the joined model's AUC is surely more than {PRIVACY_COST:g} lower than that of a "
            "hospital's own, or its Brier score surely higher",
            f"联合模型的 AUC 肯定比医院自己的模型低 {PRIVACY_COST:g} 以上，或其 Brier 分数肯定更高",
        ),
    )
    auc, brier = _told(ranked), _told(sure)
    condition = Text(
        f"{first.en}. By patients of a hospital, AUC lost: {auc.en}; Brier score added: "
        f"{brier.en}. Other kinds of hospital than sizes were not tried here.",
        f"{first.zh}。按医院患者人数，AUC 损失：{auc.zh}；Brier 分数增加：{brier.zh}。"
        "除规模以外的医院类型在此未试。",
    )
    worst = max(sure.values(), key=lambda harm: harm.lower)
    effect = Text(
        "Brier score, joined without correction less own, where it is worst",
        "Brier 分数：未校正的联合模型减去本院模型，最差的一类",
    )
    return Ruling(_verdict(sides), condition, effect, *three(worst))


def side_by_side(parts: Sequence[HospitalSums]) -> HospitalSums:
    """All hospitals of several cohorts, measured at the same seeds."""

    def beside(of: Callable[[HospitalSums], Sequence[Sequence[float]]]) -> list[list[float]]:
        rows: list[list[float]] = np.concatenate([of(part) for part in parts], axis=1).tolist()
        return rows

    return HospitalSums(
        beside(lambda s: s.wins),
        beside(lambda s: s.pairs),
        beside(lambda s: s.squares),
        beside(lambda s: s.excess),
        beside(lambda s: s.patients),
    )


def _own_and_joined(
    records: Sequence[Record], end: End
) -> tuple[HospitalSums, HospitalSums] | None:
    """The tuned own models, and the joined ones as they end, of both halves."""
    arms = (((JoiningArm.OWN, None), End.FIT), ((JoiningArm.NONE, None), end))
    arm_sums: list[list[HospitalSums]] = [[], []]
    for cohort in COHORTS:
        study_records = [
            r
            for r in records
            if r.config["experiment"] == "joining" and r.config["cohort"] == cohort
        ]
        whole = cohort_records(study_records).whole
        for sums, (arm, at) in zip(arm_sums, arms, strict=True):
            if arm not in whole:
                return None
            sums.append(whole[arm].ends[at])
    own_sums, joined = (side_by_side(sums) for sums in arm_sums)
    return own_sums, joined


def _by_class(
    sums: HospitalSums, effect: Callable[[NDArray[np.bool_]], Estimate]
) -> dict[str, Estimate]:
    classes = size_classes(sums).items()
    return {name: effect(among) for name, among in classes if name != "all" and among.any()}


def _gaps(ours: HospitalSums, theirs: HospitalSums) -> NDArray[np.float64]:
    """Our AUC less theirs at each hospital, averaged over seeds."""
    (above, below), (other, _) = ours.ratio("auc"), theirs.ratio("auc")
    scored = below.sum(axis=0) > 0
    return np.asarray(((above - other)[:, scored] / below[:, scored]).mean(axis=0))


def _corrected(
    tests: Mapping[str, tuple[Estimate, float]],
) -> dict[str, Conclusion]:
    """Each effect's side of its margin, where Holm's correction leaves it decided."""
    rejected = holm([p_beyond(*one) for one in tests.values()], level=LEVEL)
    return {
        name: side_of(*one) if k in rejected else Conclusion.UNDECIDED
        for k, (name, one) in enumerate(tests.items())
    }


def _verdict(sides: Mapping[str, Conclusion]) -> Conclusion:
    conclusions = set(sides.values())
    if len(conclusions) == 1:
        return conclusions.pop()
    some = Conclusion.HOLDS in conclusions
    return Conclusion.HOLDS_ONLY_IF if some else Conclusion.UNDECIDED


def _opening(sides: Mapping[str, Conclusion], what: Text) -> Text:
    some = [name for name, side in sides.items() if side is Conclusion.HOLDS]
    verdict = _verdict(sides)
    if verdict is Conclusion.HOLDS:
        return Text(f"In every class {what.en}", f"在每一类中，{what.zh}")
    if verdict is Conclusion.HOLDS_ONLY_IF:
        named = [_class(name) for name in some]
        return Text(
            f"It holds only if the hospital has so many patients, where {what.en}: "
            + ", ".join(n.en for n in named),
            f"仅当医院有以下患者人数时才成立，此时{what.zh}：" + "、".join(n.zh for n in named),
        )
    if verdict is Conclusion.DOES_NOT_HOLD:
        return Text(f"In no class: in each it is excluded that {what.en}",
                    f"在任何一类中都不成立：已排除{what.zh}")  # fmt: skip
    return Text(
        f"In no class is it shown that {what.en}, and in some it is not excluded",
        f"在任何一类中都未显示{what.zh}，在有的类中也未排除",
    )


def _class(name: str) -> Text:
    zh = name.replace("above 200", "200 以上").replace(" (", "（").replace(")", "）")
    return Text(name, zh)


def _told(effects: Mapping[str, Estimate]) -> Text:
    entries = [(_class(name), ends(*three(one))) for name, one in effects.items()]
    return Text(
        "; ".join(f"{name.en} {en}" for name, (en, _) in entries),
        "；".join(f"{name.zh} {zh}" for name, (_, zh) in entries),
    )
