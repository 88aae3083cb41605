"""`acim train CONFIG` and `acim train --resume RUN`: one run of EM, plain RL or warm-up SFT."""

import argparse
import sys
from pathlib import Path

from acim_jax import bad_input
from acim_jax.cli import console, report
from acim_jax.config import run as config
from acim_jax.run import compilation, dry_run, launch, preparation


def run(args: argparse.Namespace) -> int:
    """Trains, resumes, or prints what would be done."""
    compilation.enable_cache()
    if args.resume is not None:
        args.resume_hint = f"acim train --resume {args.resume}"
        with console.Display() as display:
            launch.resume(args.resume, display)
        report.write_in_folder(args.resume)
        return 0
    with bad_input.reading():
        prepared = preparation.prepare(args.chosen)
    if args.dry_run:
        console.console().print(dry_run.table(prepared))
        sys.stdout.write(config.dump(args.chosen))
        return 0
    name = args.chosen.run.name or args.config.stem
    out = args.out or Path("runs") / f"{name}-seed{args.chosen.seed}"
    args.resume_hint = f"acim train --resume {out}"
    with console.Display() as display:
        launch.start(prepared, out, display)
    report.write_in_folder(out)
    return 0
