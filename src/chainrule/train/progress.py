"""Progress of a training run: lines for its epochs, and on a terminal a bar below them."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


LINES = 50


class Progress(Protocol):
    """What the training loop reports to."""

    def __enter__(self) -> Progress: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def step(self, epoch: int, fraction: float) -> None: ...
    def epoch(self, epoch: int, metrics: dict[str, float]) -> None: ...


def _line(epoch: int, epochs: int, metrics: dict[str, float]) -> str:
    parts = [
        f"{name.replace('_', ' ')} {value:.2%}" if "accuracy" in name else f"{name.replace('_', ' ')} {value:.4f}"
        for name, value in metrics.items()
    ]
    return f"epoch {epoch + 1:{len(str(epochs))}d}/{epochs}  {'  '.join(parts)}"


def _told(epoch: int, epochs: int) -> bool:
    """Whether an epoch has a line: all have where they are few, else so many as can be read."""
    return epochs <= 2 * LINES or (epoch + 1) % -(-epochs // LINES) == 0 or epoch + 1 == epochs


class Silent:
    """Reports nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def step(self, epoch: int, fraction: float) -> None:
        pass

    def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        pass


class Lines(Silent):
    """Lines on standard error."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        if _told(epoch, self.epochs):
            sys.stderr.write(_line(epoch, self.epochs, metrics) + "\n")
            sys.stderr.flush()


class Terminal(Silent):
    """Lines, and below them a bar that fills once over all epochs."""

    def __init__(self, epochs: int, what: str, first: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.epochs, self.first = epochs, first
        self.bar: Bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=Console(stderr=True)
        )
        self.task: TaskID = self.bar.add_task(what or f"epoch {first + 1}/{epochs}", total=float(epochs - first))

    def __enter__(self) -> Terminal:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def step(self, epoch: int, fraction: float) -> None:
        self.bar.update(self.task, completed=epoch - self.first + fraction)

    def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        if _told(epoch, self.epochs):
            self.bar.console.print(_line(epoch, self.epochs, metrics), markup=False, highlight=False)
        told = f"epoch {epoch + 1}/{self.epochs}"
        self.bar.update(self.task, completed=epoch + 1.0 - self.first, description=told)


def progress(epochs: int, verbose: bool, what: str = "", *, first: int = 0) -> Progress:
    """The report that suits where standard error goes; `what` stands beside the bar until an epoch has ended, and
    `first` epochs were done before."""
    if not verbose:
        return Silent()
    return Terminal(epochs, what, first) if sys.stderr.isatty() else Lines(epochs)
