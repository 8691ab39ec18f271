r"""The PREVENT base equations for the 10-year risk of total cardiovascular disease.

Khan et al. (2024), Development and validation of the American Heart Association's PREVENT
equations, Circulation 149:430, Supplemental Table S12 (10-year, base model): logistic in the
centred terms below, with one set of coefficients for women and one for men.

>>> lady = {"age": 50.0, "total_cholesterol": 200.0, "hdl": 45.0, "sbp": 160.0, "egfr": 90.0}
>>> yes_no = {"diabetes": 1.0, "smoker": 0.0, "antihypertensive": 1.0, "statin": 0.0}
>>> logit = log_odds(female=1.0, **lady, **yes_no)
>>> round(float(1 / (1 + np.exp(-logit))), 3)  # the worked example of Table S25
0.147
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["log_odds"]

Values = NDArray[np.float64] | float

_MMOL = 0.02586  # mmol/l in one mg/dl of cholesterol, as the equations convert it

# Table S12, total CVD, women and men, in the order of the terms in `log_odds`.
_COEFFICIENTS = np.array(
    [
        (0.7939329, 0.7688528),  # age
        (0.0305239, 0.0736174),  # non-HDL cholesterol
        (-0.1606857, -0.0954431),  # HDL cholesterol
        (-0.2394003, -0.4347345),  # SBP below 110
        (0.3600781, 0.3362658),  # SBP from 110
        (0.8667604, 0.7692857),  # diabetes
        (0.5360739, 0.4386871),  # current smoking
        (0.6045917, 0.5378979),  # eGFR below 60
        (0.0433769, 0.0164827),  # eGFR from 60
        (0.3151672, 0.2888790),  # antihypertensive
        (-0.1477655, -0.1337349),  # statin
        (-0.0663612, -0.0475924),  # SBP from 110 x antihypertensive
        (0.1197879, 0.1502730),  # non-HDL x statin
        (-0.0819715, -0.0517874),  # age x non-HDL
        (0.0306769, 0.0191169),  # age x HDL
        (-0.0946348, -0.1049477),  # age x SBP from 110
        (-0.2705700, -0.2251948),  # age x diabetes
        (-0.0787150, -0.0895067),  # age x smoking
        (-0.1637806, -0.1543702),  # age x eGFR below 60
        (-3.3077280, -3.0311680),  # constant
    ]
)


def log_odds(
    *,
    female: Values,
    age: Values,
    total_cholesterol: Values,
    hdl: Values,
    sbp: Values,
    egfr: Values,
    diabetes: Values,
    smoker: Values,
    antihypertensive: Values,
    statin: Values,
) -> NDArray[np.float64]:
    """Return the log-odds of a cardiovascular event within 10 years; arguments broadcast.

    Args:
      female: 1 for women, 0 for men.
      age: Years, 30 to 79.
      total_cholesterol: mg/dl, 130 to 320.
      hdl: HDL cholesterol in mg/dl, 20 to 100.
      sbp: Systolic blood pressure in mm Hg, 90 to 200.
      egfr: Estimated glomerular filtration rate in ml/min/1.73 m^2, 15 to 140.
      diabetes: 1 or 0.
      smoker: Current smoking, 1 or 0.
      antihypertensive: Treated for blood pressure, 1 or 0.
      statin: Treated for cholesterol, 1 or 0.
    """
    a = (age - 55) / 10
    non_hdl = _MMOL * (total_cholesterol - hdl) - 3.5
    good = (_MMOL * hdl - 1.3) / 0.3
    low_sbp, high_sbp = (np.minimum(sbp, 110) - 110) / 20, (np.maximum(sbp, 110) - 130) / 20
    low_gfr, high_gfr = (np.minimum(egfr, 60) - 60) / -15, (np.maximum(egfr, 60) - 90) / -15
    terms = (
        a, non_hdl, good, low_sbp, high_sbp, diabetes, smoker, low_gfr, high_gfr,
        antihypertensive, statin, high_sbp * antihypertensive, non_hdl * statin, a * non_hdl,
        a * good, a * high_sbp, a * diabetes, a * smoker, a * low_gfr, 1.0,
    )  # fmt: skip
    of_women = sum(c * term for c, term in zip(_COEFFICIENTS[:, 0], terms, strict=True))
    of_men = sum(c * term for c, term in zip(_COEFFICIENTS[:, 1], terms, strict=True))
    return np.asarray(np.where(np.asarray(female) == 1, of_women, of_men))
