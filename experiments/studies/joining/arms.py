"""The points of the study of joining, as its protocol lists them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from experiments.run.study import GridPoint
from experiments.studies.design import TrainingSetting
from experiments.studies.joining.arm_point import JoiningArm, JoiningPoint
from experiments.studies.joining.risk import JoiningRisk
from privacy.errors import InvalidInputError

__all__ = ["FEW", "GROWING", "PARTS", "SETTING", "grid"]

SETTING = TrainingSetting(80, 4.0, 2.0, 40)
"""The best of ``inpatient tune --cohort ist-odd --regimes full --models logistic --studies 4``."""
FEW: Mapping[JoiningArm, TrainingSetting] = MappingProxyType(
    {
        JoiningArm.GRADIENT: TrainingSetting(1, 1.0, 1.0, 1),
        JoiningArm.GRADIENTS: TrainingSetting(2, 16.0, 1.0, 1),
        JoiningArm.MOMENTS: TrainingSetting(1, 1.0, 0.5, 1),
    }
)
"""The best of the same command with ``--rounds 1``, ``--rounds 2`` and ``--models moments``."""

PARTS = ("whole", "unseen", "growing", "again", "risk", "releases")
"""All hospitals; hospitals never seen; by their number; with other seeds; under attack; of sums
that are opened once or twice."""
GROWING = (4, 10, 25, 50, 100)
_A = JoiningArm
_FEDERATIONS: tuple[tuple[JoiningArm, float | None], ...] = (
    (_A.NONE, None), (_A.SEALED, 0.3), (_A.SEALED, 1.0), (_A.SEALED, 3.0), (_A.LOCAL, 1.0),
    (_A.ARTICLE, 1.0),
)  # fmt: skip
_RELEASES: Mapping[JoiningArm, tuple[float, ...]] = {
    _A.GRADIENT: (1.0,), _A.GRADIENTS: (1.0,), _A.MOMENTS: (0.3, 1.0, 3.0),
}  # fmt: skip
_WHOLE = ((_A.OWN, None), (_A.SCORE, None), (_A.POOLED, None), *_FEDERATIONS)
_UNSEEN = ((_A.SCORE, None), (_A.POOLED, None), *_FEDERATIONS)
_AGAIN: tuple[tuple[JoiningArm, float | None], ...] = ((_A.OWN, None), (_A.SEALED, 1.0))
_FEW = ((_A.OWN, None), *_FEDERATIONS)


def grid(
    cohort: str,
    setting: TrainingSetting,
    *,
    parts: Sequence[str] = PARTS,
    few: Mapping[JoiningArm, TrainingSetting] = FEW,
    scored: bool = True,
    growing: Sequence[int] = GROWING,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
) -> list[GridPoint]:
    """Return the points of one cohort.

    Args:
      cohort: As ``experiments.cohorts.load`` takes it.
      setting: How federations are trained.
      parts: Of ``PARTS``.
      few: How those are trained whose sums are opened once or twice.
      scored: Whether the cohort has a published score.
      growing: Numbers of hospitals of 20 to 60 patients.
      seeds: Of splits and noise; *again* takes as many that follow.

    Raises:
      InvalidInputError: No such part, or none.
    """
    if not parts or set(parts) - set(PARTS):
        raise InvalidInputError(f"Expected parts among {', '.join(PARTS)}, got {tuple(parts)}.")
    chosen: dict[str, list[tuple[JoiningArm, float | None, int | None]]] = {
        "whole": [(*arm, None) for arm in _WHOLE],
        "unseen": [(*arm, None) for arm in _UNSEEN],
        "growing": [(*arm, count) for count in growing for arm in _FEW],
    }
    attacked = _FEDERATIONS if "risk" in parts else ()
    others = tuple(seed + len(seeds) for seed in seeds)
    again = [
        JoiningPoint(arm, epsilon, cohort, setting, seeds=others)
        for arm, epsilon in _AGAIN
        if "again" in parts
    ]
    trained = [
        JoiningPoint(
            arm,
            epsilon,
            cohort,
            setting,
            seeds=tuple(seeds),
            unseen=part == "unseen",
            hospitals=count,
        )
        for part in chosen
        if part in parts
        for arm, epsilon, count in chosen[part]
        if scored or arm is not JoiningArm.SCORE
    ]
    risks = [JoiningRisk(arm, epsilon, cohort, setting) for arm, epsilon in attacked]
    opened = [
        JoiningPoint(arm, epsilon, cohort, few[arm], seeds=tuple(seeds))
        for arm, epsilons in _RELEASES.items()
        for epsilon in epsilons
        if "releases" in parts
    ]
    if "releases" in parts:
        risks.append(JoiningRisk(_A.MOMENTS, 1.0, cohort, few[_A.MOMENTS]))
    return [*trained, *again, *opened, *risks]
