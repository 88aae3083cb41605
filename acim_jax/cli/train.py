"""`acim train CONFIG` and `acim train --resume RUN`: one run of EM, plain RL or warm-up SFT."""

import argparse
import shlex
import sys
from pathlib import Path

from acim_jax import bad_input
from acim_jax.cli import console, report
from acim_jax.config import run as config
from acim_jax.config.run import RunConfig
from acim_jax.run import (
    compilation,
    dry_run,
    folder,
    launch,
    preparation,
    replay,
    stage_times,
)


def run(args: argparse.Namespace) -> int:
    """Trains, resumes, or prints what would be done. `checks` has filled in args.out."""
    compilation.enable_cache()
    if args.replay is not None:
        path, iteration = args.replay
        _replay(path, iteration, args.chosen)
        return 0
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


def _replay(path: Path, iteration: int, chosen: RunConfig) -> None:
    """Prints the metrics of one M-step made again, beside those that the run had."""
    own = config.load(path / folder.CONFIG)
    with bad_input.reading():
        replay.check(config.plain(own), config.plain(chosen))
    with console.Display() as display:
        then, now = replay.again(path, iteration, chosen, display)

    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.6g}"

    lines = [(name, shown(then[name]), shown(value)) for name, value in now.items()]
    title = f"iteration {iteration} of {path}"
    console.print_table(title, ("", "the run", "replayed"), lines)


def _resumption(run_folder: Path) -> str:
    return shlex.join(["acim", "train", "--resume", str(run_folder)])
