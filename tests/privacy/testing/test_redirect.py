"""Draws of torch and NumPy come from the source, in their own shapes, and only meanwhile."""

import numpy as np
import pytest
import torch
from dp_accounting import GaussianDpEvent, LaplaceDpEvent
from numpy.typing import NDArray

from privacy.testing import RandomnessRequest, Recording, check_mechanism
from privacy.testing.redirect import numpy_drawing_from, torch_drawing_from


def test_numpys_noise_is_the_sources() -> None:
    source = Recording([np.arange(6.0), np.array([5.0]), np.arange(2.0)])
    with numpy_drawing_from(source):
        table = np.random.normal(10.0, 2.0, (2, 3))  # noqa: NPY002 (what others call)
        one = np.random.normal(1.0, 3.0)  # noqa: NPY002
        pair = np.random.laplace(scale=4.0, size=2)  # noqa: NPY002
    assert table.tolist() == [[10, 11, 12], [13, 14, 15]]
    assert isinstance(one, float) and one == 6.0
    assert pair.tolist() == [0, 1]
    assert source.calls == [
        RandomnessRequest("gaussian", 2.0, 6),
        RandomnessRequest("gaussian", 3.0, 1),
        RandomnessRequest("laplace", 4.0, 2),
    ]


def test_numpys_other_draws_are_fixed_and_its_state_is_left_alone() -> None:
    np.random.seed(5)  # noqa: NPY002
    before = np.random.random(3).tolist()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    choices = []
    for seed in (6, 7):
        np.random.seed(seed)  # noqa: NPY002
        with numpy_drawing_from(Recording()):
            choices.append(np.random.choice(100, 5).tolist())  # noqa: NPY002
    assert choices[0] == choices[1]
    np.random.seed(5)  # noqa: NPY002
    with numpy_drawing_from(Recording()):
        np.random.choice(100, 5)  # noqa: NPY002
    assert np.random.random(3).tolist() == before  # noqa: NPY002


def test_both_are_given_back_even_if_the_mechanism_raises() -> None:
    real = np.random.normal, np.random.laplace, torch.normal, torch.rand
    with (
        pytest.raises(KeyError),
        numpy_drawing_from(Recording()),
        torch_drawing_from(Recording(), sampling_prob=0.5),
    ):
        assert np.random.normal is not real[0]
        raise KeyError
    assert (np.random.normal, np.random.laplace, torch.normal, torch.rand) == real


def test_torchs_noise_and_samples_are_the_sources() -> None:
    mask = np.array([True, False, True, False])
    source = Recording([np.arange(6.0)], sample=lambda draw, size: mask)
    with torch_drawing_from(source, sampling_prob=0.25):
        noise = torch.normal(mean=1.0, std=2.0, size=(2, 3), dtype=torch.float64)
        sampled = torch.rand(4, generator=None) < 0.25
        table = torch.rand(2, 3)
    assert noise.dtype == torch.float64
    assert noise.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert sampled.tolist() == mask.tolist()
    assert table.shape == (2, 3)  # no sample: torch's own
    assert source.calls == [
        RandomnessRequest("gaussian", 2.0, 6),
        RandomnessRequest("poisson_sample", 0.25, 4),
    ]


def test_torchs_default_type_is_kept() -> None:
    with torch_drawing_from(Recording()):
        assert torch.normal(mean=0.0, std=1.0, size=(3,)).dtype == torch.float32
        assert torch.rand(3).dtype == torch.float32


def laplace(scale: float, clip_to: float = 1.0) -> object:
    def run(rows: NDArray[np.float64], source: Recording) -> list[NDArray[np.float64]]:
        total = np.clip(np.nan_to_num(rows).sum(axis=0), -clip_to, clip_to)
        with numpy_drawing_from(source):
            return [total + np.random.laplace(scale=scale, size=rows.shape[1])]  # noqa: NPY002

    return run


def test_laplace_noise_is_measured_against_the_sum_of_absolute_values() -> None:
    """Three coordinates from -1 to 1: an L1 distance of 6, an L2 distance of 3.46."""
    for scale, found in ((12.0, []), (11.9, ["sensitivity"])):
        seen = check_mechanism(laplace(scale), LaplaceDpEvent(2.0), dim=3, crowd=0)  # type: ignore[arg-type]
        assert [f.check for f in seen] == found
    seen = check_mechanism(laplace(12.0), GaussianDpEvent(2.0), dim=3, crowd=0)  # type: ignore[arg-type]
    assert [f.check for f in seen] == ["fresh"]
