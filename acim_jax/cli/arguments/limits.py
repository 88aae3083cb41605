"""Arguments that have a config's defaults: limits of programs, and what counts as right."""

import argparse

from acim_jax.cli.arguments import shared
from acim_jax.environment.config import ExecutorConfig
from acim_jax.grading import config as grading
from acim_jax.grading.config import GraderConfig


def add_executor(parser: "argparse._ActionsContainer", *, side_by_side: bool) -> None:
    """The limits of the programs that a model writes."""
    defaults = ExecutorConfig()
    group = parser.add_argument_group("limits of programs")
    for option, default, metavar, text in (
        ("--workers", defaults.workers, "N", "programs at once"),
        ("--timeout", defaults.timeout_s, "S", "wall seconds"),
        ("--cpu-seconds", defaults.cpu_seconds, "S", "CPU seconds"),
        ("--memory-mb", defaults.memory_mb, "M", "address space"),
    ):
        group.add_argument(option, type=type(default), default=default, metavar=metavar, help=text)
    shared.add_several(
        group,
        "--modules",
        side_by_side=side_by_side,
        default=defaults.modules,
        metavar="a,b",
        help=f"modules that programs may import (default {','.join(defaults.modules)})",
    )


def add_grading(parser: argparse.ArgumentParser) -> None:
    """What counts as right where graders differ."""
    defaults = GraderConfig()
    group = parser.add_argument_group("what counts as right")
    for name, choices, text in (
        ("unboxed", grading.Unboxed, "without a box: what is stated as the answer, or never"),
        ("percent", grading.Percent, "what 5%% is: 0.05 (value), 5 (unit), or either"),
        (
            "rounding",
            grading.Rounding,
            "where the reference is a decimal: 1e-6 of it (tolerance), its digits, or exact",
        ),
    ):
        group.add_argument(
            f"--{name}",
            choices=choices.__args__,
            default=getattr(defaults, name),
            help=f"{text} (default %(default)s)",
        )
