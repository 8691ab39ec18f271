"""Rules that correct the bias between hospitals, one module a rule.

All obey one contract: a hospital emits one clipped, pre-weighted, noised vector, the server sees
only sums, and every statistic that leaves a hospital is a release.
"""

from aggregation.correction.local_intercept import fit_intercept

__all__ = ["fit_intercept"]
