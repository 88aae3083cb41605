"""The command lines around run folders: each function declares one, its docstring is the help."""

import argparse
from pathlib import Path

from acim_jax.cli.arguments import shared


def train(parser: argparse.ArgumentParser) -> None:
    """Trains one run (method em, rl or sft) and writes its folder: metrics, checkpoints, rollouts,
    evaluations and a report.

    Every field of the config can be set: --section.field VALUE, --method, --seed. `acim config` and
    docs/config.md list the fields.

    examples:
      acim train configs/tiny_em.yaml --out runs/em
      acim train configs/tiny_em.yaml --seed 1 --explore.strategy posterior --dry-run
      acim train --resume runs/em
      acim train --replay runs/em:3 --improve.form clip_only      (its run kept rollouts)
    """
    shared.add(parser, "config", Path, "CONFIG", "a run config, YAML", nargs="?")
    shared.add(parser, "--out", Path, "RUN", "the run's folder (default: runs/NAME-seedSEED)")
    shared.add(parser, "--resume", Path, "RUN", "go on with this run")
    replay = (
        "make the M-step of an iteration again on the rollouts that the run kept "
        "(run.keep_rollouts), with other settings of the loss if given, and compare its metrics"
    )
    shared.add(parser, "--replay", str, "RUN:ITERATION", replay)
    dry_run = "resolve and check everything, print memory, counts and times, train nothing"
    parser.add_argument("--dry-run", action="store_true", help=dry_run)


def experiment(parser: argparse.ArgumentParser) -> None:
    """Runs every arm of FILE with every seed from one warmed-up checkpoint, one after another, and
    compares them in one report.

    Every field of the config can be set, for all arms: --section.field VALUE, --method. `acim
    config` and docs/config.md list the fields.

    examples:
      acim experiment configs/quickstart.yaml --out runs/quickstart
      acim experiment configs/quickstart.yaml --out runs/quickstart --resume
      acim experiment configs/quickstart.yaml --seeds 1 --run.iterations 4 --out runs/short
    """
    shared.add(parser, "file", Path, "FILE", "an experiment, YAML")
    shared.add(parser, "--seeds", int, "N", "how many seeds to run")
    shared.add(parser, "--out", Path, "DIR", "default: runs/NAME")
    parser.add_argument("--resume", action="store_true", help="go on with what is in DIR")


def config(parser: argparse.ArgumentParser) -> None:
    """Lists the fields of a run's config: type, default, and what each is. docs/config.md is the
    same list. A config file sets them, or `acim train CONFIG --section.field VALUE`.

    examples:
      acim config
      acim config improve
      acim config --json
    """
    shared.add(parser, "section", str, "SECTION", "this section alone", nargs="?")
    shared.add_json(parser)


def export(parser: argparse.ArgumentParser) -> None:
    """Writes a checkpoint of a run (the newest by default), or a model, as a Hugging Face folder.
    An earlier export in DIR is replaced, anything else is not.

    examples:
      acim export runs/em --out models/em
      acim export runs/em --step 10 --dtype bfloat16 --out models/em-10
      acim export runs/lora --adapter --out models/lora-adapter

    writes config.json, safetensors and tokenizer files, which transformers loads, and acim.yaml:
    the prompt template, decision prefixes and fences that the model was trained with. Adapters of a
    LoRA run are merged into the weights, or with --adapter written by themselves, as PEFT reads
    them
    """
    shared.add(parser, "model", str, "RUN_OR_MODEL", shared.MODEL_HELP)
    shared.add(parser, "--out", Path, "DIR", "the model folder", required=True)
    shared.add(parser, "--step", int, "N", "a run's checkpoint of iteration N")
    dtype = "of the tensors (default: that of the parameters)"
    parser.add_argument("--dtype", choices=shared.DTYPES, help=dtype)
    adapter = "only the adapters of a LoRA run, as a PEFT folder (adapter_model.safetensors)"
    parser.add_argument("--adapter", action="store_true", help=adapter)


def report(parser: argparse.ArgumentParser) -> None:
    """Writes one HTML page with the curves, tables and episodes of the runs given. The page opens
    offline and loads nothing.

    examples:
      acim report runs/em-seed0 runs/rl-seed0 --out report.html
      acim report runs/quickstart --out report.html      (an experiment folder: all of its runs)
    """
    shared.add(parser, "runs", Path, "RUN", "a run folder or an experiment folder", nargs="+")
    shared.add(parser, "--out", Path, "FILE.html", "the page", required=True)
    parser.add_argument("--title", help="the page's title")


def watch(parser: argparse.ArgumentParser) -> None:
    """Shows a run as it works: where it is, its curves, what should worry, and some of its newest
    rollouts. Of an experiment, the run that is at work. It reads files only, so it can look at a
    run on a shared disk, and at a finished one.

    examples:
      acim watch runs/em
      acim watch runs/quickstart --episodes 5
      acim watch runs/em --once
    """
    shared.add(parser, "run", Path, "RUN", "a run folder, or an experiment's")
    shared.add(parser, "--episodes", int, "N", "rollouts to show (default: 2)", default=2)
    shared.add(parser, "--interval", float, "S", "seconds between two looks (2)", default=2.0)
    parser.add_argument("--once", action="store_true", help="print the view once and stop")
