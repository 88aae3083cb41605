"""`acim train CONFIG` and `acim train --resume RUN`: one run of EM, plain RL or warm-up SFT."""

import argparse
import shlex
import sys
from pathlib import Path

from acim_jax import bad_input
from acim_jax.cli import console, report
from acim_jax.config import run as config
from acim_jax.run import compilation, dry_run, folder, launch, preparation, stage_times


def run(args: argparse.Namespace) -> int:
    """Trains, resumes, or prints what would be done. `checks` has filled in args.out."""
    compilation.enable_cache()
    if args.resume is not None:
        args.resume_hint = _resumption(args.resume)
        with console.Display() as display:
            launch.resume(args.resume, display)
        report.write_in_folder(args.resume)
        return 0
    with bad_input.reading():
        prepared = preparation.prepare(args.chosen)
    if args.dry_run:
        times = stage_times.of(prepared) if dry_run.fits(prepared) else {}
        console.console().print(dry_run.table(prepared, times))
        sys.stdout.write(config.dump(args.chosen))
        return 0
    args.resume_hint = args.command_line
    try:
        with console.Display() as display:
            launch.start(prepared, args.out, display)
    finally:
        if folder.is_complete(args.out):
            args.resume_hint = _resumption(args.out)
    report.write_in_folder(args.out)
    return 0


def _resumption(run_folder: Path) -> str:
    return shlex.join(["acim", "train", "--resume", str(run_folder)])
