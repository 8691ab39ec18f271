"""Somebody else's mechanism, drawing from a source: ``torch.normal`` and ``numpy.random`` answered.

``check_mechanism`` asks for a mechanism whose randomness comes from a source. A library draws from
torch or NumPy instead. Within these contexts those draws are the source's, whoever asks for them:

    def opacus_step(patients, source):
        with torch_drawing_from(source, sampling_prob=0.25):
            ...

Only for tests, and for one thread: the functions are replaced for the whole process until the
context ends. A library that has taken a function away under another name before keeps its own; the
check then says that there is randomness which does not come from the source.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from privacy.mechanisms.noise import NoiseSource

__all__ = ["numpy_drawing_from", "torch_drawing_from"]


@contextmanager
def numpy_drawing_from(source: Any) -> Iterator[None]:
    """Answer ``numpy.random.normal`` and ``laplace`` from ``source``; fix all else by a seed.

    Args:
      source: A noise source; for ``laplace`` a ``Recording``.
    """

    def normal(loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        return _shaped(source.gaussian, loc, scale, size)

    def laplace(loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        return _shaped(source.laplace, loc, scale, size)

    before = np.random.get_state()  # noqa: NPY002 (theirs is the global one)
    np.random.seed(0)  # noqa: NPY002
    try:
        with patch("numpy.random.normal", normal), patch("numpy.random.laplace", laplace):
            yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def _shaped(draw: Callable[[float, int], Any], loc: Any, scale: Any, size: Any) -> Any:
    shape = () if size is None else (size,) if np.isscalar(size) else tuple(size)
    drawn = loc + np.reshape(draw(float(scale), math.prod(shape)), shape)
    return drawn if shape else drawn[()]


@contextmanager
def torch_drawing_from(
    source: NoiseSource, *, sampling_prob: float | None = None
) -> Iterator[None]:
    """Answer ``torch.normal`` (with scalar mean and deviation) from ``source``.

    Args:
      source: A noise source.
      sampling_prob: If given, a vector of ``torch.rand`` is taken for a Poisson sample, as Opacus
        draws it: ``torch.rand(patients) < sampling_prob``.
    """
    import torch

    def normal(
        mean: float, std: float, size: Any, *, dtype: Any = None, device: Any = None, **_: Any
    ) -> Any:
        shape = tuple(size)
        drawn = mean + np.reshape(source.gaussian(float(std), math.prod(shape)), shape)
        # As torch would: without a dtype, in the default one.
        return torch.tensor(drawn, dtype=dtype or torch.get_default_dtype(), device=device)

    rand = torch.rand

    def uniform(*size: Any, **named: Any) -> Any:
        shape = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
        if sampling_prob is None or len(shape) != 1:
            return rand(*size, **named)
        taken = source.poisson_sample(sampling_prob, int(shape[0]))
        return torch.tensor(np.where(taken, 0.0, 1.0))

    with patch("torch.normal", normal), patch("torch.rand", uniform):
        yield
