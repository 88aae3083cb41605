"""`acim experiment FILE`: named arms × seeds that share a warm-up, then the report."""

import argparse

from acim_jax.cli import console, report
from acim_jax.evaluation import over_seeds
from acim_jax.run import compilation, experiment

_MEASURES = ("accuracy", "selection_accuracy", "stratum_selection_accuracy", "code_rate")


def run(args: argparse.Namespace) -> int:
    """Runs what is not finished yet, writes results.json and report.html, and prints the table.

    `checks` has filled in args.out.
    """
    compilation.enable_cache()
    out = args.out
    args.resume_hint = args.command_line
    try:
        with console.Display() as display:
            experiment.run(
                args.chosen, out, display, resume=args.resume, on_finished=report.write_in_folder
            )
    finally:
        if not args.resume and (out / experiment.SETTINGS).is_file():
            args.resume_hint += " --resume"
    report.write_in_folder(out)
    results = over_seeds.read(out / "results.json")
    console.print_table(
        f"{results.problems} test problems, greedy; mean ± standard error over seeds",
        ("", "rollouts", "seeds", *(over_seeds.MEASURES[key] for key in _MEASURES)),
        over_seeds.table(results, _MEASURES),
    )
    console.console().print(f"report: {out / 'report.html'}", soft_wrap=True)
    return 0
