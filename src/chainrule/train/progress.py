"""Progress of a training run, on standard output: lines for its epochs, and on a terminal or in a notebook a bar."""

from __future__ import annotations

import sys
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, cast

from chainrule.notebook import in_notebook

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


LINES, SHORT = 50, 5
"""Lines beyond twice which some are left out; of a notebook, where a cell is no longer than a screen."""
PAUSE = 0.1  # seconds from one drawing of a bar in a notebook to the next


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


def _told(epoch: int, epochs: int, most: int = LINES) -> bool:
    """Whether an epoch has a line: all have where they are few, else so many as can be read."""
    return epochs <= 2 * most or (epoch + 1) % -(-epochs // most) == 0 or epoch + 1 == epochs


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
    """Lines alone."""

    most = LINES

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        if _told(epoch, self.epochs, self.most):
            sys.stdout.write(_line(epoch, self.epochs, metrics) + "\n")
            sys.stdout.flush()


class Cell(Lines):
    """A bar that a notebook draws anew in its place, and lines below it; when the run ends the bar goes."""

    most = SHORT

    def __init__(self, epochs: int, what: str, first: int) -> None:
        super().__init__(epochs)
        self.what, self.first, self.drawn = what, first, 0.0

    def __enter__(self) -> Cell:
        from IPython.display import DisplayHandle  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

        self.handle: Any = cast(Any, DisplayHandle)()
        self.handle.display(self.bar(0.0), raw=True)
        return self

    def bar(self, done: float) -> dict[str, str]:
        what = self.what or f"epoch {min(int(self.first + done) + 1, self.epochs)}/{self.epochs}"
        share = done / max(self.epochs - self.first, 1)
        track = "display:inline-block;width:16em;height:.5em;border-radius:.25em;background:rgba(128,128,128,.3)"
        fill = f"width:{share:.1%};height:100%;border-radius:.25em;background:#8c2f1b"
        shown = f'<div role="progressbar">{what} <span style="{track}"><div style="{fill}"></div></span></div>'
        return {"text/plain": f"{what} {share:.0%}", "text/html": shown}

    def step(self, epoch: int, fraction: float) -> None:
        if perf_counter() - self.drawn > PAUSE:
            self.drawn = perf_counter()
            self.handle.update(self.bar(epoch - self.first + fraction), raw=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.handle.update({"text/plain": "", "text/html": ""}, raw=True)


class Terminal(Silent):
    """Lines, and below them a bar that fills once over all epochs."""

    def __init__(self, epochs: int, what: str, first: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.epochs, self.first = epochs, first
        self.bar: Bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=Console()
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
    """The report that suits where standard output goes; `what` stands beside the bar until an epoch has ended, and
    `first` epochs were done before."""
    if not verbose:
        return Silent()
    if in_notebook():
        return Cell(epochs, what, first)
    return Terminal(epochs, what, first) if sys.stdout.isatty() else Lines(epochs)
