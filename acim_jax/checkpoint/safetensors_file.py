"""One safetensors file: its tensors as memory-mapped arrays, and one written tensor by tensor.

The `safetensors` package checks every file that is read here. It copies whatever it reads, though,
and writes only what is in memory as a whole, so the bytes themselves are handled here. The format
(https://huggingface.co/docs/safetensors): the header's length as 8 bytes, little endian; the
header, JSON; then the tensors' bytes without gaps, at the header's offsets.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors

#: The format's names of the dtypes that are read and written.
DTYPES: Mapping[str, np.dtype] = {
    "F32": np.dtype(jnp.float32),
    "BF16": np.dtype(jnp.bfloat16),
    "F16": np.dtype(jnp.float16),
}
#: Elements that are checked at a time, so that what the check needs itself stays in cache.
_CHUNK = 1 << 18
#: Data begin at a multiple of this, so that arrays mapped from the file are aligned.
_ALIGNMENT = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of an opened file. values: read-only, memory-mapped; pages are read when used.

    copy: the tensor that the checkpoint holds once more, which must have the same bits.
    """

    name: str
    file: Path
    values: np.ndarray
    copy: "Tensor | None" = None

    def fetch(self, index: tuple[slice, ...], dtype: np.dtype) -> np.ndarray:
        """A slice, as the file has it (a view of the map); checked to be finite in `dtype` too.

        ValueError names the tensor for NaN, infinity, values beyond the range of `dtype`, and for
        a copy that differs.
        """
        copy = self.copy
        if copy is not None and not self._same_bits(copy, index):
            raise ValueError(
                f"{copy.file}: {copy.name} differs from {self.name}, but config.json says "
                "tie_word_embeddings: true."
            )
        # Files of other writers may place a tensor anywhere.
        part = np.require(self.values[index], requirements="A")
        check_finite(part, dtype, f"{self.file}: tensor {self.name}")
        return part

    def _same_bits(self, other: "Tensor", index: tuple[slice, ...]) -> bool:
        """Whether both hold the same bits at `index`; compared in chunks, without a copy."""
        mine, others = self.values[index], other.values[index]
        return (mine.dtype, mine.shape) == (others.dtype, others.shape) and all(
            np.array_equal(
                mine[rows].view(bits_of(mine.dtype)), others[rows].view(bits_of(mine.dtype))
            )
            for rows in _chunks(mine)
        )


def check_finite(part: np.ndarray, dtype: np.dtype, what: str) -> None:
    """ValueError, beginning with `what`, for values that are not finite, or not so in `dtype`."""
    own, target = _magnitude(part.dtype, part.dtype), _magnitude(part.dtype, dtype)
    for rows in _chunks(part):
        # Without the sign, bits are ordered as magnitudes are; infinity and NaN come last.
        worst = int(np.left_shift(part[rows].view(bits_of(part.dtype)), 1).max(initial=0))
        if worst > own:
            raise ValueError(f"{what} holds NaN or infinite values.")
        if worst > target:
            raise ValueError(f"{what} holds values beyond the range of {dtype}; keep {part.dtype}.")


def open_tensors(
    file: Path, *, ignored: Callable[[str], bool] = lambda name: False
) -> dict[str, Tensor]:
    """The tensors of a file by name; those with an `ignored` name are left out, of any dtype.

    FileNotFoundError for a missing file; ValueError for a truncated or foreign one and, naming the
    tensor, for a dtype that is not read.
    """
    try:
        with safetensors.safe_open(file, framework="np"):
            pass
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{file} is truncated or not a safetensors file ({error}); fetch it again."
        ) from error
    mapped = np.memmap(file, np.uint8, mode="r").view(np.ndarray)
    start = 8 + int.from_bytes(mapped[:8].tobytes(), "little")
    header: dict[str, Any] = json.loads(mapped[8:start].tobytes())
    header.pop("__metadata__", None)
    tensors: dict[str, Tensor] = {}
    for name, entry in header.items():
        if ignored(name):
            continue
        if entry["dtype"] not in DTYPES:
            raise ValueError(
                f"{file}: tensor {name} has dtype {entry['dtype']}; supported: {', '.join(DTYPES)}."
            )
        begin, end = entry["data_offsets"]
        values = mapped[start + begin : start + end].view(DTYPES[entry["dtype"]])
        tensors[name] = Tensor(name, file, values.reshape(entry["shape"]))
    return tensors


def write(
    file: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: np.dtype,
    tensors: Iterable[np.ndarray],
) -> None:
    """Writes a file of one dtype, from tensors in the order of `shapes`. Each tensor is asked for
    when the one before it is written."""
    (spelled,) = (name for name, known in DTYPES.items() if known == dtype)
    # transformers refuses files that do not state the framework that wrote them.
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": spelled, "shape": list(shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-(8 + len(encoded)) % _ALIGNMENT)
    with file.open("wb") as out:
        out.write(len(encoded).to_bytes(8, "little") + encoded)
        for (name, shape), tensor in zip(shapes.items(), tensors, strict=True):
            assert (tensor.shape, tensor.dtype) == (shape, dtype), name
            out.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)


def bits_of(dtype: np.dtype) -> np.dtype:
    """The unsigned integers of a dtype's width."""
    return np.dtype(f"u{dtype.itemsize}")


def _magnitude(source: np.dtype, target: np.dtype) -> int:
    """Bits, without the sign, of the largest value of `source` that is finite in `target`."""
    largest = min(float(jnp.finfo(source).max), float(jnp.finfo(target).max))
    value = np.array(largest, source)
    bits = int(value.view(bits_of(source)))
    return (bits - (float(value) > largest)) << 1


def _chunks(array: np.ndarray) -> Iterator[slice]:
    """Slices of the first axis with about `_CHUNK` elements each."""
    rows = max(_CHUNK * len(array) // max(array.size, 1), 1)
    for start in range(0, len(array), rows):
        yield slice(start, start + rows)
