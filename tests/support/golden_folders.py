"""Folders in Hugging Face form of the golden models."""

import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors.numpy

from tests.support import golden


def write(case: str, folder: Path) -> Path:
    """The model as transformers had it, in its own dtype."""
    source = golden.FOLDER / case
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("expected.npz"))
    dtype = json.loads((source / "config.json").read_text())["dtype"]
    target = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    drawn = golden.tensors(golden.expected(case))
    safetensors.numpy.save_file(
        {name: array.astype(target) for name, array in drawn.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    return folder
