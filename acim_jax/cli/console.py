"""What people see: log lines, progress bars and tables, all on standard error."""

import collections
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import rich.console
import rich.logging
import rich.progress
import rich.table

log = logging.getLogger(__name__)

#: Seconds that a speed is the mean over, and between two lines about it.
SPEED_S, TELL_S = 30.0, 60.0


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


class Rollouts:
    """How rollouts come along (`acim_jax.rollout.progress.Progress`)."""

    def __init__(self, display: rich.progress.Progress, task: rich.progress.TaskID) -> None:
        self._display, self._task = display, task
        #: Times of the last decode calls, and tokens sampled until then.
        self._calls = collections.deque([(time.monotonic(), 0)])
        self._told = time.monotonic()

    def finished(self) -> None:
        bar = self._bar
        if bar.total is not None and bar.completed >= bar.total:  # a problem was replaced
            self._display.update(self._task, total=bar.completed + 1)
        self._display.advance(self._task)

    @property
    def _bar(self) -> rich.progress.Task:
        return self._display.tasks[self._display.task_ids.index(self._task)]

    def decoded(self, tokens: int, rows: int) -> None:
        now = time.monotonic()
        self._calls.append((now, self._calls[-1][1] + tokens))
        while len(self._calls) > 2 and now - self._calls[0][0] > SPEED_S:
            self._calls.popleft()
        (first, before), (_, after) = self._calls[0], self._calls[-1]
        speed = f"{(after - before) / max(now - first, 1e-6):.0f} tokens/s, {rows} rows"
        self._display.update(self._task, speed=speed)
        if not console().is_terminal and now - self._told > TELL_S:
            self._told = now
            bar = self._bar
            log.info("%s: %d of %d, %s", bar.description, bar.completed, bar.total or 0, speed)


class Display(rich.progress.Progress):
    """Progress bars (`acim_jax.run.open_run.Display`). Without a terminal, a line a minute tells
    of rollouts."""

    def __init__(self) -> None:
        super().__init__(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TimeRemainingColumn(),
            rich.progress.TextColumn("{task.fields[speed]}"),
            console=console(),
            transient=True,
            disable=not console().is_terminal,
        )

    @contextlib.contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[], None]]:
        """A bar while the `with` lasts; the function given advances it by one."""
        task = self.add_task(description, total=total, speed="")
        try:
            yield lambda: self.advance(task)
        finally:
            self.remove_task(task)

    @contextlib.contextmanager
    def rollouts(self, description: str, total: int) -> Iterator[Rollouts]:
        """A bar of rollouts, with tokens per second and rows at work."""
        task = self.add_task(description, total=total, speed="")
        try:
            yield Rollouts(self, task)
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
