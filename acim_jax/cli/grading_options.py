"""Options of what counts as right where graders differ."""

import argparse
import dataclasses
import typing

from acim_jax.grading.config import GraderConfig, Percent, Rounding, Unboxed


def add(parser: argparse.ArgumentParser) -> None:
    """What counts as right where graders differ."""
    defaults = GraderConfig()
    group = parser.add_argument_group("what counts as right")
    group.add_argument(
        "--unboxed",
        choices=typing.get_args(Unboxed),
        default=defaults.unboxed,
        help="without a box: what is stated as the answer, or never (default %(default)s)",
    )
    group.add_argument(
        "--percent",
        choices=typing.get_args(Percent),
        default=defaults.percent,
        help="what 5%% is: 0.05 (value), 5 (unit), or either (default %(default)s)",
    )
    group.add_argument(
        "--rounding",
        choices=typing.get_args(Rounding),
        default=defaults.rounding,
        help="where the reference is a decimal: 1e-6 of it (tolerance), its digits, or exact "
        "(default %(default)s)",
    )


def read(args: argparse.Namespace, timeout_s: float | None = None) -> GraderConfig:
    """timeout_s: of one comparison, by default the config's. ValueError if it is out of range."""
    config = GraderConfig(unboxed=args.unboxed, percent=args.percent, rounding=args.rounding)
    return config if timeout_s is None else dataclasses.replace(config, timeout_s=timeout_s)
