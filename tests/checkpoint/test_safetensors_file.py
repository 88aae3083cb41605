"""The file format against the safetensors package, and the check of values against numpy."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from acim_jax.checkpoint import safetensors_file

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT16, FLOAT32 = np.dtype(np.float16), np.dtype(np.float32)


def refused(values: np.ndarray, dtype: np.dtype) -> bool:
    try:
        safetensors_file.check_finite(values, dtype, "x")
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("source", [BFLOAT16, FLOAT16])
@pytest.mark.parametrize("target", [BFLOAT16, FLOAT16, FLOAT32])
def test_values_of_16_bits(source: np.dtype, target: np.dtype):
    """Refused iff NaN, infinite, or larger than the target's largest: at every border, and
    between."""
    largest = {FLOAT16: 65504.0, BFLOAT16: 3.3895313892515355e38, FLOAT32: 3.4028234663852886e38}
    values = np.arange(2**16, dtype=np.uint16).view(source)
    with np.errstate(invalid="ignore"):
        wide = values.astype(np.float64)
    wanted = ~(np.abs(wide) <= largest[target])
    # Beyond the range of float16 lie 2 × 113 × 128 values of bfloat16, infinity and NaN included.
    assert (wanted.sum() == 2 * 113 * 128) == (source == BFLOAT16 and target == FLOAT16)
    borders = np.flatnonzero(np.diff(wanted))
    chosen = np.union1d(np.arange(0, 2**16, 97), np.concatenate([borders, borders + 1]))
    found = [refused(values[i : i + 1], target) for i in chosen]
    np.testing.assert_array_equal(found, wanted[chosen])


@pytest.mark.parametrize("at", [0, 2**18 - 1, 2**18, 3 * 2**18 + 5])
def test_one_bad_value_anywhere(at: int):
    """Across the chunks, in whole arrays, in columns and in one long row."""
    values = np.full(4 * 2**18, 3.4028234663852886e38, np.float32)
    assert not refused(values, FLOAT32)
    values[at] = np.nan
    for view in (values, values.reshape(1024, -1), values.reshape(1, -1), values[::-1]):
        assert refused(view, FLOAT32)
    columns = values.reshape(1024, -1)[:, at % 1024 :: 1024]
    assert refused(columns, FLOAT32)
    assert not refused(values.reshape(1024, -1)[:, at % 1024 + 1 :: 1024], FLOAT32)


@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT16, FLOAT32])
def test_written_files_are_read_by_the_package(tmp_path: Path, dtype: np.dtype):
    draw = np.random.default_rng(0)
    tensors = {
        "a": draw.normal(size=(3, 5)).astype(dtype),
        'name with ü and "quotes"': draw.normal(size=7).astype(dtype),
        "transposed": draw.normal(size=(4, 6)).astype(dtype).T,
        "scalar": np.array(2.5, dtype),
        "empty": np.empty((0, 4), dtype),
    }
    file = tmp_path / "x.safetensors"
    shapes = {name: array.shape for name, array in tensors.items()}
    safetensors_file.write(file, shapes, dtype, iter(tensors.values()))
    read = safetensors.numpy.load_file(file)
    assert read.keys() == tensors.keys()
    mapped = safetensors_file.open_tensors(file)
    for name, array in tensors.items():
        assert read[name].dtype == array.dtype
        assert mapped[name].values.dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
        np.testing.assert_array_equal(mapped[name].values, array)
    with safetensors.safe_open(file, framework="np") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_data_at_odd_offsets_are_read(tmp_path: Path):
    """A header of 8 k + 1 bytes, as other writers may make it."""
    values = np.arange(6, dtype=np.float32)
    entry = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    header = json.dumps({"x": entry}).encode()
    header += b" " * (1 + -len(header) % 8)
    file = tmp_path / "x.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + values.tobytes())
    tensor = safetensors_file.open_tensors(file)["x"]
    assert not tensor.values.flags.aligned
    part = tensor.fetch((slice(0, 2), slice(1, 3)), FLOAT32)
    assert part.flags.aligned
    np.testing.assert_array_equal(part, [[1, 2], [4, 5]])
