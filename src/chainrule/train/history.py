"""What a training run saw, as numbers, as a frame, and as curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from chainrule.errors import DataError
from chainrule.train.progress import in_notebook


@dataclass
class History:
    """What `fit` saw: the metrics of each epoch, `history["val_loss"]` in a row or `history.epochs` together.

    `interrupted`: Ctrl-C ended the run, and the progress was kept. `stopped` says which callback ended it, if one did.
    `samples` is how many were trained on, `batch_size` of them at once.
    """

    epochs: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    interrupted: bool = False
    stopped: str = ""
    samples: int = 0
    batch_size: int = 0

    def __getitem__(self, name: str) -> list[float]:
        """A metric's values, of the epochs that have it. Raises KeyError where there were epochs, and none has it."""
        found = self._values(name)
        if self.epochs and not found:
            raise KeyError(f"there is no {name!r}: the metrics are {', '.join(self.to_dict())}")
        return found

    def _values(self, name: str) -> list[float]:
        return [metrics[name] for metrics in self.epochs if name in metrics]

    @property
    def loss(self) -> list[float]:
        return self._values("loss")

    @property
    def accuracy(self) -> list[float]:
        return self._values("accuracy")

    @property
    def val_loss(self) -> list[float]:
        return self._values("val_loss")

    @property
    def val_accuracy(self) -> list[float]:
        return self._values("val_accuracy")

    def add(self, metrics: Mapping[str, float]) -> None:
        self.epochs.append(dict(metrics))

    def to_dict(self) -> dict[str, list[float]]:
        """Metric -> a number for each epoch, NaN where an epoch has none."""
        names = dict.fromkeys(name for metrics in self.epochs for name in metrics)
        return {name: [metrics.get(name, float("nan")) for metrics in self.epochs] for name in names}

    def to_frame(self) -> Any:
        """A pandas frame with a row for each epoch, from 1. Raises DataError where pandas is not installed."""
        try:
            import pandas as pd
        except ImportError:
            raise DataError("to_frame needs pandas", fix='pip install "chainrule[plot]"') from None
        return pd.DataFrame(self.to_dict(), index=pd.RangeIndex(1, len(self.epochs) + 1, name="epoch"))

    def plot(self) -> Any:
        """The curves as a matplotlib figure, one part for each metric, with what is held out beside; in a notebook it
        is a cell's result. Raises DataError where matplotlib is not installed."""
        try:
            from matplotlib import pyplot  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
        except ImportError:
            raise DataError("plot needs matplotlib", fix='pip install "chainrule[plot]"') from None
        panels, plt = self.panels(), cast(Any, pyplot)
        figure = plt.figure(figsize=(4.5 * max(len(panels), 1), 3.2), layout="constrained")
        for place, (name, lines) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(1, len(panels), place)
            for label, values in lines.items():
                axes.plot(range(1, len(values) + 1), values, label=label, marker="" if len(values) > 1 else "o")
            axes.set(xlabel="epoch", title=name)
            axes.legend(frameon=False)
        if in_notebook():
            plt.close(figure)  # what is left open is shown a second time
        return figure

    def panels(self) -> dict[str, dict[str, list[float]]]:
        """Metric -> its curves, of what was trained on and of what was held out."""
        panels: dict[str, dict[str, list[float]]] = {}
        for name, values in self.to_dict().items():
            of = name.removeprefix("val_")
            panels.setdefault(of.replace("_", " "), {})["training" if of == name else "held out"] = values
        return panels

    def __repr__(self) -> str:
        if not self.epochs:
            return "<History of no epochs>"
        last = ", ".join(f"{name} {value:.4f}" for name, value in self.epochs[-1].items())
        ended = ", interrupted" if self.interrupted else f", ended by {self.stopped}" if self.stopped else ""
        count = f"{len(self.epochs)} epoch{'s' * (len(self.epochs) != 1)}{ended}"
        return f"<History of {count}: at last {last}; history.plot() draws it>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the curves."""
        from chainrule.render.charts import curves
        from chainrule.render.document import Drawn
        from chainrule.render.html import cell

        return cell(Drawn(curves(self.panels(), "epoch"), (repr(self)[1:-1].split(";")[0],)))
