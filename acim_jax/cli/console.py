"""What people see: log lines, progress bars and tables, all on standard error."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

import rich.console
import rich.logging
import rich.progress
import rich.table


@functools.cache
def console() -> rich.console.Console:
    """The console of standard error. Standard output is for machine results alone."""
    return rich.console.Console(stderr=True)


def set_up_logging(level: int = logging.INFO) -> None:
    """The project's log lines to standard error, above a progress bar if one is shown."""
    if console().is_terminal:
        handler: logging.Handler = rich.logging.RichHandler(
            console=console(), show_path=False, show_level=False
        )
        form = "%(message)s"
    else:
        handler, form = logging.StreamHandler(), "%(asctime)s %(message)s"
    # Other packages speak up only when something is wrong.
    logging.basicConfig(level=logging.WARNING, handlers=[handler], format=form, datefmt="%X")
    logging.getLogger("acim_jax").setLevel(level)


class Display(rich.progress.Progress):
    """Progress bars (`acim_jax.run.open_run.Display`); silent where there is no terminal."""

    def __init__(self) -> None:
        super().__init__(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TimeRemainingColumn(),
            console=console(),
            transient=True,
            disable=not console().is_terminal,
        )

    @contextlib.contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[], None]]:
        """A bar while the `with` lasts; the function given advances it by one."""
        task = self.add_task(description, total=total)
        try:
            yield lambda: self.advance(task)
        finally:
            self.remove_task(task)


def print_table(
    title: str, columns: Sequence[str], lines: Iterable[Sequence[str]], *, names: int = 1
) -> None:
    """A table of figures; the first `names` columns hold words and stand to the left."""
    table = rich.table.Table(title=title)
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position < names else "right")
    for line in lines:
        table.add_row(*line)
    console().print(table)
