"""Config fields on the command line: `--section.field VALUE`, `--method VALUE`, `--seed VALUE`."""

import re
from collections.abc import Sequence

from acim_jax.bad_input import BadInput

_OPTION = re.compile(r"--((?:[a-z]\w*\.)+\w+|method|seed)(?:=(.*))?", re.DOTALL)


def split(arguments: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The overrides in a command line, as (dotted field, text), and the other arguments.

    They are taken out before argparse sees the line, because it would take the value of an option
    it does not know for a positional argument. Raises `BadInput` for an option without a value.
    """
    overrides: list[tuple[str, str]] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        match = _OPTION.fullmatch(argument)
        if match is None:
            rest.append(argument)
            continue
        name, value = match.groups()
        if value is None and (value := next(waiting, None)) is None:
            raise BadInput(f"--{name}: a value must follow")
        overrides.append((name, value))
    return overrides, rest
