"""`acim export RUN_OR_MODEL --out DIR`: a run's weights as a Hugging Face folder."""

import argparse
import logging
from pathlib import Path

from acim_jax import bad_input, model_folder
from acim_jax.checkpoint import hf
from acim_jax.checkpoint.acim_yaml import NAME as MARKUP_FILE
from acim_jax.cli import options
from acim_jax.model.config import ModelSource

log = logging.getLogger(__name__)

_EXAMPLE = """\
examples:
  acim export runs/em --out models/em
  acim export runs/em --step 10 --dtype bfloat16 --out models/em-10

writes config.json, safetensors and tokenizer files, which transformers loads, and acim.yaml: the
prompt template, decision prefixes and fences that the model was trained with
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command `export` to the parsers of `acim`."""
    parser = subparsers.add_parser(
        "export",
        help="write a Hugging Face folder",
        description="Writes a checkpoint of a run (the newest by default), or a model, as a "
        "Hugging Face folder. An earlier export in DIR is replaced, anything else is not.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="RUN_OR_MODEL", help=options.MODEL_HELP)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model folder")
    parser.add_argument("--step", type=int, metavar="N", help="a run's checkpoint of iteration N")
    parser.add_argument(
        "--dtype", choices=options.DTYPES, help="of the tensors (default: that of the parameters)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Reads the weights and writes the folder, whole or not at all."""
    with bad_input.reading():
        model = model_folder.open_model(ModelSource(args.model), step=args.step)
        if args.step is not None and model.run is None:
            raise ValueError(f"--step chooses a run's checkpoint; {args.model} is no run folder.")
        _check_target(args.out, model.folder)
        params = model_folder.load_params(model, None)
    hf.save(
        args.out,
        params,
        model.config,
        tokenizer_files_from=model.folder,
        markup=model.markup,
        dtype=args.dtype,
        overwrite=True,
    )
    step = "" if model.step is None else f", iteration {model.step}"
    log.info("%s%s written to %s", model.name, step, args.out)
    return 0


def _check_target(out: Path, source: Path) -> None:
    """Raises ValueError unless `out` is new, empty, or an earlier export that is not the source."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; name a folder.")
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
