"""Folders of tiny random models, as commands take them, and JSON Lines files beside them."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from acim_jax.checkpoint import hf_export, model_names
from acim_jax.markup import Markup
from acim_jax.model.config import ModelConfig
from tests.support import tiny_models

CONFIG = dataclasses.replace(tiny_models.CONFIG, max_positions=256)


def write_model(
    folder: Path,
    *,
    seed: int = 0,
    config: ModelConfig = CONFIG,
    markup: Markup | None = tiny_models.CHATTY,
) -> Path:
    """A random model over the embedded tokenizer in Hugging Face form."""
    params = tiny_models.make_params(config, seed)
    source = model_names.EMBEDDED["tiny"]
    hf_export.save(folder, params, config, tokenizer_files_from=source, markup=markup)
    return folder


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
