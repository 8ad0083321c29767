"""What happens beside training: stopping early, saving, lowering the rate, writing down, whatever a user adds.

A callback's `memory` is all that it remembers; a saved model keeps it, so that a run which is resumed goes on as if it
had never ended. It holds numbers, texts and arrays.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from chainrule.errors import ModelError
from chainrule.options import several
from chainrule.train.atomic import replaced
from chainrule.train.metrics import higher
from chainrule.train.runners import check_count
from chainrule.train.state import digest

if TYPE_CHECKING:
    from chainrule.train.model import Model

Metrics = Mapping[str, float]


class Callback:
    """One of one's own overrides `on_epoch`, which may return True to end the run, or `on_steps`, which is called each
    `every` steps. A plain function (model, metrics) is an `on_epoch`."""

    every: int = 0
    """Steps from one `on_steps` to the next; 0 for none. Training stops at these steps and goes on."""
    writes: bool = False
    """Whether it only writes down what it sees, so that one of several processes is enough."""

    def __init__(self) -> None:
        self.memory: dict[str, Any] = {}

    def __repr__(self) -> str:
        plain = {k: v for k, v in vars(self).items() if k[0] != "_" and isinstance(v, str | int | float | Path)}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in plain.items())})"

    def begin(self, model: Model) -> None:
        """Called when `fit` begins or goes on."""

    def due(self) -> bool:
        """Whether `on_steps` wants to be called now, between two steps; asked often."""
        return False

    def on_steps(self, model: Model) -> None:
        """Called after each `every` steps, and when it is due."""

    def on_epoch(self, model: Model, metrics: Metrics) -> bool | None:
        """Called after each epoch with its metrics: "loss", "val_loss", …"""


Hook: TypeAlias = "Callback | Callable[[Model, Metrics], bool | None]"


class _Function(Callback):
    def __init__(self, function: Callable[[Model, Metrics], bool | None]) -> None:
        super().__init__()
        self.function = function

    def on_epoch(self, model: Model, metrics: Metrics) -> bool | None:
        return self.function(model, metrics)


class _Watching(Callback):
    """Looks whether a metric becomes better: lower, or higher where its name says so."""

    def __init__(self, monitor: str | None, min_delta: float) -> None:
        super().__init__()
        if not (math.isfinite(min_delta) and min_delta >= 0):
            raise ModelError(f"min_delta must be a number that is not negative, not {min_delta!r}", fix="min_delta=0.0")
        self.monitor, self.min_delta = monitor, min_delta

    def better(self, metrics: Metrics) -> bool:
        """Whether this epoch is better than the best before it by more than `min_delta`. The metric is the loss of
        what is held out, else of what is trained on, unless another is named."""
        name = self.monitor or ("val_loss" if "val_loss" in metrics else "loss")
        if name not in metrics:
            raise ModelError(
                f"{type(self).__name__} watches {name!r}, which is no metric of this run",
                fix=f"there are {', '.join(metrics)}; val_… need validation_split or validation_data",
            )
        value = -metrics[name] if higher(name) else metrics[name]
        best = self.memory.get("best")
        if best is not None and not value < best - self.min_delta:
            self.memory["waited"] = self.memory.get("waited", 0) + 1
            return False
        self.memory |= {"best": float(value), "waited": 0}
        return True


class EarlyStopping(_Watching):
    """Ends the run when the metric has not become better for `patience` epochs. With `restore_best` the model has the
    parameters of the best epoch when the run ends, by whatever but Ctrl-C. A further call of `fit` goes on from the
    best where this ended the run, else from the last epoch's, as if both calls were one."""

    def __init__(
        self, patience: int = 5, *, monitor: str | None = None, min_delta: float = 0.0, restore_best: bool = True
    ) -> None:
        super().__init__(monitor, min_delta)
        check_count("patience", patience, 5)
        self.patience, self.restore_best = patience, restore_best

    def begin(self, model: Model) -> None:
        if self.memory.get("waited", 0) >= self.patience:
            self.memory["waited"] = 0  # a run that this had ended begins again

    def on_epoch(self, model: Model, metrics: Metrics) -> bool | None:
        state = model.training
        if self.better(metrics):
            if self.restore_best:
                self.memory["arrays"] = model.values.copies()
            return None
        ended = self.memory["waited"] >= self.patience
        if "arrays" in self.memory and (ended or state.epochs >= state.goal or state.history.stopped):
            last = model.values.copies()
            model.values.restore(self.memory["arrays"])
            if not ended:
                state.last, state.shown = last, digest("", model.values.arrays)
        return ended


class ReduceOnPlateau(_Watching):
    """Multiplies the rate by `factor` when the metric has not become better for `patience` epochs, down to `floor`
    times the optimizer's rate."""

    def __init__(
        self, factor: float = 0.1, patience: int = 3, *, monitor: str | None = None, min_delta: float = 0.0,
        floor: float = 1e-4,
    ) -> None:
        super().__init__(monitor, min_delta)
        if not 0 < factor < 1:
            raise ModelError(f"factor must be between 0 and 1, not {factor!r}", fix="write factor=0.1")
        check_count("patience", patience, 3)
        self.factor, self.patience, self.floor = factor, patience, floor

    def on_epoch(self, model: Model, metrics: Metrics) -> bool | None:
        if not self.better(metrics) and self.memory["waited"] >= self.patience:
            self.memory["waited"] = 0
            model.training.factor = max(model.training.factor * self.factor, self.floor)


class Checkpoint(_Watching):
    """Saves the model: after every epoch unless `epochs` is False, and within it each `every` steps or `seconds`; with
    `best`, after an epoch that is better than all before it and then only. A saved model goes on where it was:
    fit(…, resume=True)."""

    writes = True

    def __init__(
        self, path: str | PathLike[str], *, every: int = 0, seconds: float = math.inf, best: bool = False,
        monitor: str | None = None, epochs: bool = True,
    ) -> None:
        super().__init__(monitor, 0.0)
        if best and (every or seconds < math.inf):
            raise ModelError("how good an epoch is shows at its end", fix="leave out best, or every and seconds")
        self.path, self.seconds, self.best, self.epochs = fspath(path), seconds, best, epochs
        if every:
            check_count("every", every, 100)
        self.every = every
        self._last = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self._last >= self.seconds

    def on_steps(self, model: Model) -> None:
        model.save(self.path)
        self._last = time.monotonic()

    def on_epoch(self, model: Model, metrics: Metrics) -> bool | None:
        if self.better(metrics) if self.best else self.epochs:
            self.on_steps(model)


class CSVLogger(Callback):
    """Adds a line for each epoch to a file: its number and its metrics. A run that goes on drops the lines of epochs
    that are done once more, and one that a kill has torn."""

    def __init__(self, path: str | PathLike[str]) -> None:
        super().__init__()
        self.path = Path(path)
        self.names: list[str] = []

    def begin(self, model: Model) -> None:
        self._write(self._rows(model.training.epochs))

    def on_epoch(self, model: Model, metrics: Metrics) -> bool | None:
        epoch = model.training.epochs
        row = {"epoch": epoch, **metrics}
        if row.keys() <= set(self.names):
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.names, lineterminator="\n").writerow(row)
        else:
            self._write([*self._rows(epoch - 1), row])

    def _rows(self, epochs: int) -> list[dict[str, Any]]:
        """The whole lines of the file, of so many epochs."""
        if not (epochs and self.path.exists()):
            return []
        text = self.path.read_text(encoding="utf-8", errors="replace")
        lines = csv.DictReader(text[: text.rfind("\n") + 1].splitlines(), restkey="", restval="")
        rows = cast("list[dict[str, Any]]", [row for row in lines if "" not in row])
        return [row for row in rows if str(row.get("epoch")).isdigit() and int(row["epoch"]) <= epochs]

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self.names = list(dict.fromkeys(name for row in rows for name in row))
        if rows:
            text = io.StringIO()
            writer = csv.DictWriter(text, self.names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            with replaced(self.path) as file:
                file.write(text.getvalue().encode())


class Elsewhere(Callback):
    """In the place of a callback that writes, where another process does: training stops at the same steps."""

    def __init__(self, writing: Callback) -> None:
        super().__init__()
        self.every = writing.every


def callbacks_of(given: object, writes: bool = True) -> list[Callback]:
    """One or several, for a process that `writes` or for one beside it. Raises ModelError for what is neither a
    callback nor a function."""
    result: list[Callback] = []
    for one in several(given):
        if isinstance(one, type) or not (isinstance(one, Callback) or callable(one)):
            raise ModelError(
                f"{one!r} is no callback", about="callbacks",
                fix="give cr.EarlyStopping(patience=5), or a function of (model, metrics)",
            )
        callback = one if isinstance(one, Callback) else _Function(cast(Any, one))
        result.append(callback if writes or not callback.writes else Elsewhere(callback))
    return result


def in_order(callbacks: Iterable[Callback]) -> list[Callback]:
    """What brings back the best comes behind what looks at the epoch, and what saves it all last."""
    return sorted(callbacks, key=lambda one: 2 if isinstance(one, Checkpoint) else isinstance(one, EarlyStopping))
