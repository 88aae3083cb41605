"""What people see: log lines and progress bars, all on standard error."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator

import rich.console
import rich.logging
import rich.progress


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


def progress() -> rich.progress.Progress:
    """A progress display to be used as a context manager; silent where there is no terminal."""
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TimeRemainingColumn(),
        console=console(),
        transient=True,
        disable=not console().is_terminal,
    )


class Display:
    """Progress bars of a run (`acim_jax.run.open_run.Display`); a context manager."""

    def __init__(self) -> None:
        self._progress = progress()

    def __enter__(self) -> "Display":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextlib.contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[], None]]:
        """A bar while the `with` lasts; the function given advances it by one."""
        task = self._progress.add_task(description, total=total)
        try:
            yield lambda: self._progress.advance(task)
        finally:
            self._progress.remove_task(task)
