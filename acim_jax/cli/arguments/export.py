"""The command line of `acim export`."""

import argparse
from pathlib import Path

from acim_jax.cli.arguments import shared

DESCRIPTION = """\
Writes a checkpoint of a run (the newest by default), or a model, as a Hugging Face folder. An
earlier export in DIR is replaced, anything else is not."""
EXAMPLES = """\
examples:
  acim export runs/em --out models/em
  acim export runs/em --step 10 --dtype bfloat16 --out models/em-10
  acim export runs/lora --adapter --out models/lora-adapter

writes config.json, safetensors and tokenizer files, which transformers loads, and acim.yaml: the
prompt template, decision prefixes and fences that the model was trained with. Adapters of a LoRA
run are merged into the weights, or with --adapter written by themselves, as PEFT reads them
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("model", metavar="RUN_OR_MODEL", help=shared.MODEL_HELP)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model folder")
    parser.add_argument("--step", type=int, metavar="N", help="a run's checkpoint of iteration N")
    parser.add_argument(
        "--dtype", choices=shared.DTYPES, help="of the tensors (default: that of the parameters)"
    )
    parser.add_argument(
        "--adapter",
        action="store_true",
        help="only the adapters of a LoRA run, as a PEFT folder (adapter_model.safetensors)",
    )
