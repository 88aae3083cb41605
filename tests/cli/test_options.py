"""How a command runs the model that it is given."""

import argparse
import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest

from acim_jax.checkpoint import model_folder
from acim_jax.cli import options
from tests.support import model_folders


@pytest.mark.parametrize(
    ("own", "asked", "computed"),
    [
        ("bfloat16", None, "float32"),
        ("bfloat16", "bfloat16", "bfloat16"),
        ("float32", None, "float32"),
        ("float32", "bfloat16", "bfloat16"),
    ],
)
def test_a_cpu_computes_in_float32_unless_asked(
    own: str, asked: str | None, computed: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The weights come in that dtype, so that no step converts them; what was done is said."""
    config = dataclasses.replace(model_folders.CONFIG, dtype=own, param_dtype=own)
    folder = model_folders.write_model(tmp_path / "model", config=config)
    with caplog.at_level(logging.INFO, logger="acim_jax"):
        model = options.open_model(argparse.Namespace(model=str(folder), dtype=asked, markup=[]))
    assert (model.config.dtype, model.config.param_dtype) == (computed, computed)
    params = model_folder.load_params(model, None)
    assert {str(np.dtype(x.dtype)) for x in params["blocks"]["mlp"].values()} == {computed}
    assert ("is computed in float32" in caplog.text) == (own == "bfloat16" and asked is None)
