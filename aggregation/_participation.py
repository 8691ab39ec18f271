"""How often a patient may take part, by a plan: in how many hospitals, in which rounds."""

from typing import TYPE_CHECKING

from aggregation.noise_kind import NoiseKind
from privacy._validate import natural
from privacy.errors import InvalidInputError, RefusedError
from privacy.unit import Unit

if TYPE_CHECKING:
    from aggregation.plan import Plan

__all__ = ["check_participation"]


def check_participation(plan: "Plan") -> None:
    """Refuse a plan whose patients take part in a way that nobody could account for.

    Raises:
      InvalidInputError: A number out of range, or a pass that the rounds cut short.
      RefusedError: Several hospitals, passes or correlated noise, beside what is only known
        without them.
    """
    _check_several(plan)
    _check_pass(plan)
    _check_correlated(plan)


def _told(plan: "Plan") -> str:
    """What rounds that belong together may not have, as the plan has it."""
    return (
        f"noise={plan.noise.value!r}, unit={plan.unit.value!r}, "
        f"local_steps={plan.local_steps}, sampling_size={plan.sampling_size}, "
        f"{len(plan.scalars)} scalars, patient_hospitals="
        f"{plan.patient_hospitals} and the rule {plan.used_rule.contract.name!r}"
    )


def _check_several(plan: "Plan") -> None:
    natural(patient_hospitals=plan.patient_hospitals, least=1)
    if plan.patient_hospitals == 1:
        return
    if plan.patient_hospitals > len(plan.hospitals):
        raise InvalidInputError(
            f"Expected patient_hospitals={plan.patient_hospitals} at most the number of hospitals "
            f"({len(plan.hospitals)})."
        )
    if plan.unit == Unit.HOSPITAL or plan.used_rule.contract.memory:
        raise RefusedError(
            "What a patient in several hospitals does is known of sums of clipped gradients "
            f"without memory; the plan has unit={plan.unit.value!r} and the rule "
            f"{plan.used_rule.contract.name!r}. Set unit='patient' and a rule without memory, or "
            "patient_hospitals=1."
        )


def _check_pass(plan: "Plan") -> None:
    if plan.pass_rounds is None:
        return
    if plan.rounds % plan.pass_rounds:
        raise InvalidInputError(
            f"Expected rounds={plan.rounds} as whole passes of pass_rounds={plan.pass_rounds}."
        )
    accounted = (
        plan.sampling_size is None
        and plan.unit == Unit.PATIENT
        and plan.local_steps == 1
        and not plan.scalars
        and not plan.used_rule.contract.memory
        and plan.patient_hospitals == 1
    )
    if not accounted:
        raise RefusedError(
            "Random allocation is of patients of one hospital, to sums of one step without memory "
            "and with nothing beside them: a scalar would need a pass of its own. The plan has "
            f"{_told(plan)}. Leave out sampling_size, local_steps, scalars and patient_hospitals, "
            "or pass_rounds."
        )


def _check_correlated(plan: "Plan") -> None:
    if plan.correlated is None:
        return
    if plan.noise == NoiseKind.SHARED:
        raise RefusedError(
            "Shares of noise are rounded apart at each hospital, and for their correlated sum "
            "there is no proof. Set noise='local' (all of it at each hospital), or correlated=None."
        )
    contract = plan.used_rule.contract
    accounted = (
        plan.noise == NoiseKind.LOCAL
        and plan.unit == Unit.PATIENT
        and plan.local_steps == 1
        and plan.sampling_size is None
        and not plan.scalars
        and not (contract.memory or contract.adaptive)
        and plan.patient_hospitals == 1
    )
    if not accounted:
        raise RefusedError(
            "Correlated noise is accounted for over all rounds together: of noise 'local', sums of "
            "one step, patients of one hospital in all rounds or in one fixed round of each pass, "
            "and rules whose uploads are declared, without memory or scalars. The plan has "
            f"{_told(plan)}. Leave out the others, or correlated."
        )
