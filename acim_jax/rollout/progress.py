"""What is told while rollouts are made."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """Of a known number of rollouts; shown by `cli.console`, or by nobody (`SILENT`)."""

    def finished(self) -> None:
        """One more rollout is done."""
        ...

    def decoded(self, tokens: int, rows: int) -> None:
        """A decode call gave `tokens`, and now `rows` rows are at work."""
        ...


class _Silent:
    def finished(self) -> None: ...

    def decoded(self, tokens: int, rows: int) -> None: ...


SILENT: Progress = _Silent()
