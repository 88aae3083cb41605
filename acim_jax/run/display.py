"""What a run needs of whatever shows its progress."""

import contextlib
from collections.abc import Callable
from typing import Protocol, runtime_checkable


@runtime_checkable
class Display(Protocol):
    """`task` opens a bar of `total` steps and gives the function that advances it by one."""

    def task(
        self, description: str, total: int
    ) -> contextlib.AbstractContextManager[Callable[[], None]]: ...
