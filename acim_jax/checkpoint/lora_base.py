"""Which frozen weights a LoRA run's adapters belong to: `base.json` in the run folder.

Checkpoints of such a run hold the adapters and their optimiser only. The base is read again from
the run's `model.path`, so the folder keeps a fingerprint of it.
"""

import json
from pathlib import Path

import jax

from acim_jax.checkpoint import fingerprint
from acim_jax.files import atomic
from acim_jax.model import lora

NAME = "base.json"


def settle(run: Path, model: str, params: lora.Params) -> None:
    """Records the base of a new run; checks the base of a run that has a record.

    model: where the base was read from. Raises ValueError as `check` does.
    """
    if (run / NAME).is_file():
        check(run, params)
        return
    content = {
        "model": model,
        "dtype": _dtype(params),
        "fingerprint": fingerprint.of_params(params),
    }
    atomic.write_text(run / NAME, json.dumps(content, indent=2) + "\n")


def check(run: Path, params: lora.Params) -> None:
    """ValueError unless `params` are the weights that the run's adapters were trained on. Weights
    read in another dtype than the run's have other bits, and are not compared."""
    file = run / NAME
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        model, dtype, wanted = content["model"], content["dtype"], content["fingerprint"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} does not say which weights this LoRA run's adapters belong to ({error!r})."
        ) from error
    if dtype == _dtype(params) and wanted != fingerprint.of_params(params):
        raise ValueError(
            f"{model} holds other weights than when {run} was started, and its adapters only "
            "belong to those: put them back at that place."
        )


def _dtype(params: lora.Params) -> str:
    return ",".join(sorted({str(leaf.dtype) for leaf in jax.tree.leaves(params)}))
