"""What was measured, in the page's language: attacks by adversary, and audits."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from privacy.ledger.rounding import down, up
from privacy.report.evidence_file import AttackResult, EvaluationResult
from privacy.report.facts import Facts
from privacy.report.printed import percent, percent_up

__all__ = ["attack_groups", "audits", "quality"]

_Words = Callable[..., str]

_ADVERSARIES = (
    "eavesdropper",
    "server_plain",
    "server_sealed",
    "colluding",
    "buffered",
    "longitudinal",
    "active",
    "key_holder",
    "informed",
    "public",
    "buyer",
)


_POSITIONS = {"server_plain", "server_sealed"}


def attack_groups(facts: Facts, t: _Words, table: Mapping[str, str]) -> list[dict[str, Any]]:
    """This run's rows apart from those of its design in other runs, and of other designs."""
    attacks = facts.evidence.attacks
    groups = {
        "this": [a for a in attacks if not a.design],
        "same": [a for a in attacks if a.design and a.same_design],
        "other": [a for a in attacks if a.design and not a.same_design],
    }
    tried = {a.adversary for name in ("this", "same") for a in groups[name]}
    if tried & _POSITIONS:  # a server is in one of the two positions, never in the other as well
        tried |= _POSITIONS
    return [
        {
            "id": name,
            "caption": t(f"attacks_{name}"),
            "rows": [_attack(a, t, table) for a in rows],
            "untried": t(
                "attacks_untried",
                adversaries=t("untried_list").join(
                    t(f"adversary_{a}") for a in _ADVERSARIES if a not in tried
                ),
            )
            if name == "same"
            else "",
        }
        for name, rows in groups.items()
        if rows or name != "other"
    ]


def _attack(a: AttackResult, t: _Words, table: Mapping[str, str]) -> dict[str, Any]:
    return {
        "adversary": table.get(f"adversary_{a.adversary}", a.adversary),
        "attack": table.get(f"attack_{a.attack}", a.attack),
        "design": {"zh-Hans": a.design_zh}.get(t("lang")) or a.design or t("this_run"),
        "success": t(
            "success",
            success=percent(a.success),
            lower=percent(a.lower),
            upper=percent(a.upper),
            confidence=f"{100 * a.confidence:g} %",
            trials=a.trials,
        ),
        "guessing": percent(a.baseline),
        "bound": t("no_bound") if a.bound is None else percent_up(a.bound),
        "exceeds": a.bound is not None and a.lower > a.bound,
    }


def audits(facts: Facts, t: _Words) -> list[dict[str, Any]]:
    """A row an audit."""
    proven = facts.worst.interval.upper if facts.worst and facts.worst.interval else math.inf
    return [
        {
            "method": a.method,
            "design": a.design or t("this_run"),
            "canaries": f"{a.canaries}, {a.guesses}, {a.correct}",
            "lower": t(
                "audit_lower", lower=down(a.epsilon_lower), confidence=f"{100 * a.confidence:g} %"
            ),
            "ceiling": down(a.ceiling),
            "proven": "" if a.design else up(proven),
            "exceeds": not a.design and a.epsilon_lower > proven,
        }
        for a in facts.evidence.audits
    ]


def quality(facts: Facts, t: _Words) -> list[tuple[str, str]]:
    """How good the model is, as far as it was released under the budget; else "not measured"."""
    by_figure = {one.figure: one for one in facts.evidence.evaluations}
    return [
        (
            t(f"label_{word}"),
            _measured(by_figure[figure], t) if figure in by_figure else t("not_measured"),
        )
        for word, figure in (("auc", "AUC"), ("calibration", "observed less predicted"))
    ]


def _measured(one: EvaluationResult, t: _Words) -> str:
    form = "{:.3f}" if one.figure == "AUC" else "{:+.3f}"
    return t(
        "measured_noised",
        value=t("drowned") if one.value is None else form.format(one.value),
        lower=form.format(math.floor(1000 * one.lower) / 1000),
        upper=form.format(math.ceil(1000 * one.upper) / 1000),
        confidence=f"{100 * one.confidence:g} %",
        held_out=one.held_out,
        epsilon=up(one.epsilon),
        disjoint=t("held_out_apart" if one.disjoint else "held_out_same"),
    )
