"""`acim export RUN_OR_MODEL --out DIR`: a run's weights as a Hugging Face folder."""

import argparse
import logging
from pathlib import Path

from acim_jax import bad_input
from acim_jax.checkpoint import hf_export, model_folder, model_names, peft
from acim_jax.checkpoint.acim_yaml import NAME as MARKUP_FILE
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.model.config import ModelSource

log = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Reads the weights and writes the folder, whole or not at all."""
    with bad_input.reading():
        model = model_folder.open_model(ModelSource(args.model), step=args.step)
        if args.step is not None and model.run is None:
            raise ValueError(f"--step chooses a run's checkpoint; {args.model} is no run folder.")
    if args.adapter:
        _write_adapter(model, args)
    else:
        _write_model(model, args)
    step = "" if model.step is None else f", iteration {model.step}"
    log.info("%s%s written to %s", model.name, step, args.out)
    return 0


def _write_model(model: ModelFolder, args: argparse.Namespace) -> None:
    with bad_input.reading():
        _check_target(args.out, model.folder)
        params = model_folder.load_params(model, None)
    hf_export.save(
        args.out,
        params,
        model.config,
        tokenizer_files_from=model.folder,
        markup=model.markup,
        dtype=args.dtype,
        overwrite=True,
    )


def _write_adapter(model: ModelFolder, args: argparse.Namespace) -> None:
    with bad_input.reading():
        if args.dtype is not None:
            raise ValueError("--dtype is of a model's tensors; --adapter always writes float32.")
        peft.check_target(args.out)
        adapters = model_folder.load_adapters(model, None)
    assert model.adapted is not None  # else there were no adapters to load
    base = model.adapted.base
    where = str(base.run or base.folder.resolve())
    if base.run is not None or base.adapted is not None:
        log.warning(
            "the adapters belong to %s, which PEFT cannot read: `acim export` it, and name that "
            "folder as base_model_name_or_path in %s",
            base.name,
            args.out / peft.CONFIG,
        )
    elif not Path(base.name).exists() and base.name not in model_names.EMBEDDED:
        where = base.name  # on the hub
    peft.save(
        args.out, adapters, model.adapted.settings, model.config, base=where, markup=model.markup
    )


def _check_target(out: Path, source: Path) -> None:
    """Raises ValueError for a folder that is the source, or neither empty nor an earlier export."""
    if not out.is_dir():
        return
    if out.resolve() == source.resolve():
        raise ValueError(f"--out {out} is the model itself; name another folder.")
    names = {path.name for path in out.iterdir()}
    if names and not {"config.json", MARKUP_FILE} <= names:
        raise ValueError(
            f"--out {out} is not empty and no earlier export ({', '.join(sorted(names)[:3])}); "
            "name another folder."
        )
