"""What happens where a kernel does not cover its input."""

import functools
import logging

_LOG = logging.getLogger(__name__)


def refuse(kernel: str, limit: str | None) -> None:
    """Raises where a kernel was asked for by name and has a limit."""
    if limit is not None:
        raise ValueError(f"{kernel} does not cover this input: {limit}. Use implementation='auto'.")


@functools.cache
def report(kernel: str, limit: str) -> None:
    """Says once that the reference computes instead."""
    _LOG.warning("%s does not cover this input and the slower reference runs: %s.", kernel, limit)
