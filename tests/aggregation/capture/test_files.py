import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from aggregation.capture import Precision
from aggregation.capture.weight_files import read_weights
from privacy.errors import CorruptMessageError, InpatientError, InvalidInputError
from tests.aggregation.capture.clients import safetensors

TENSORS: dict[str, Any] = {
    "0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "0.bias": np.array([1.5, -2], np.float32),
}
GOOD = safetensors(TENSORS, "F32")


def read(folder: Path, content: bytes, name: str = "w.safetensors") -> Any:
    (folder / name).write_bytes(content)
    return read_weights(folder / name)


@given(
    st.dictionaries(
        st.text("abc.0", min_size=1, max_size=5),
        arrays.arrays(np.float64, arrays.array_shapes(max_dims=3, max_side=4)),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["F64", "F32", "F16"]),
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, Any], kind: str
) -> None:
    dtype = {"F64": np.float64, "F32": np.float32, "F16": np.float16}[kind]
    with np.errstate(over="ignore"):
        tensors = {name: value.astype(dtype) for name, value in tensors.items()}
    found = read(tmp_path_factory.mktemp("w"), safetensors(tensors, kind))
    assert found.precision.value == np.dtype(dtype).name
    assert set(found.tensors) == set(tensors)
    for name, value in tensors.items():
        np.testing.assert_array_equal(found.tensors[name], value)


def test_bfloat16_is_read_as_it_was(tmp_path: Path) -> None:
    numbers = torch.tensor([1.0, -0.1, 3e38, 1e-40], dtype=torch.bfloat16)
    raw = {"w": numbers.view(torch.uint16).numpy()}
    found = read(tmp_path, safetensors(raw, "BF16"))
    assert found.precision is Precision.BFLOAT16
    np.testing.assert_array_equal(found.tensors["w"], numbers.float().numpy())


def test_an_npz_is_read_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **TENSORS)
    found = read_weights(tmp_path / "w.npz")
    assert found.precision is Precision.FLOAT32
    np.testing.assert_array_equal(found.tensors["0.weight"], TENSORS["0.weight"])


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.pkl"])
def test_a_pickle_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"safetensors\.torch\.save_file"):
        read(tmp_path, b"", name)


def header(told: Any, tail: bytes = b"") -> bytes:
    content = json.dumps(told).encode()
    return struct.pack("<Q", len(content)) + content + tail


def one(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | changes}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "shorter"),
        (struct.pack("<Q", 2**60), "header"),
        (header([]), "object"),
        (header(one(dtype="I64"), b"0000"), "I64"),
        (header(one(data_offsets=[0, 8]), b"0000"), "size"),
        (header(one(data_offsets=[4, 8]), b"0000"), "outside"),
        (header(one(data_offsets=[4, 0]), b"0000"), "size"),
        (header(one(data_offsets=[0]), b"0000"), "place"),
        (header(one(shape=[2**40]), b"0000"), "shape"),
        (header(one(shape=[True]), b"0000"), "shape"),
        (header(one(more=1), b"0000"), "fields"),
        (header({"w": 3}, b"0000"), "fields"),
        (header({**one(), "v": one()["w"]}, b"0000"), "overlap"),
    ],
)
def test_what_is_not_of_the_format_is_refused_in_words(
    tmp_path: Path, content: bytes, why: str
) -> None:
    with pytest.raises(CorruptMessageError, match=why):
        read(tmp_path, content)


@given(st.data())
def test_no_change_of_bytes_gives_anything_but_weights_or_words(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    spoilt = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read(tmp_path_factory.mktemp("w"), bytes(spoilt[: data.draw(st.integers(0, 200))]))
    except InpatientError:
        return
    assert all(isinstance(value, np.ndarray) for value in found.tensors.values())


def test_two_formats_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.zeros(1), b=np.zeros(1, np.float32))
    with pytest.raises(InvalidInputError, match="float32, float64"):
        read_weights(tmp_path / "w.npz")


def test_an_archive_that_runs_or_bursts_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.array([{"run": 1}], dtype=object))
    with pytest.raises(CorruptMessageError, match="no array"):
        read_weights(tmp_path / "w.npz")
    burst = io.BytesIO()
    with zipfile.ZipFile(burst, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(5):
            archive.writestr(f"{i}.npy", bytes(2**26))
    with pytest.raises(CorruptMessageError, match="unpack"):
        read(tmp_path, burst.getvalue(), "burst.npz")
    with pytest.raises(CorruptMessageError, match="archive"):
        read(tmp_path, b"PK\x03\x04", "torn.npz")
