"""`acim experiment FILE`: named arms × seeds that share a warm-up, then the report."""

import argparse
from pathlib import Path

from acim_jax.cli import console, report, results_table
from acim_jax.run import compilation, experiment


def run(args: argparse.Namespace) -> int:
    """Runs what is not finished yet and writes results.json and report.html."""
    compilation.enable_cache()
    out = args.out or Path("runs") / args.chosen.name
    args.resume_hint = f"acim experiment {args.file} --out {out} --resume"
    with console.Display() as display:
        experiment.run(
            args.chosen, out, display, resume=args.resume, on_finished=report.write_in_folder
        )
    report.write_in_folder(out)
    console.console().print(results_table.experiment(out / "results.json"))
    console.console().print(f"report: {out / 'report.html'}", soft_wrap=True)
    return 0
